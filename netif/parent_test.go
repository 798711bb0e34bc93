package netif

import (
	"os"
	"strings"
	"testing"
	"time"
)

func parentIsUp(b *bench) bool { return b.observe().ParentUp }

// Setting the parent up sends nothing, on a router with IPv6 whose device nobody
// has configured. The control is the same device, set up by ip(8).
func TestRaiseParent(t *testing.T) {
	b := newBench(t)
	setSysctl(t, "net/ipv4/ip_forward", "1")
	setSysctl(t, "net/ipv6/conf/all/forwarding", "1")
	setSysctl(t, "net/ipv6/conf/port0/forwarding", "1")
	ip(t, "link", "set", "port0", "down")
	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "0")
	peer, out := b.peerTap(), newTap(t, "port0", true)

	index, raised, err := b.RaiseParent(t.Context(), wan, 0)
	if err != nil || !raised || index == 0 || !parentIsUp(b) {
		t.Fatalf("index %d, raised %v, %v", index, raised, err)
	}
	for _, warning := range b.observe().Warnings {
		t.Errorf("status warns: %s", warning)
	}
	time.Sleep(noiseAfter)
	for where, c := range map[string]*tap{"left the port": out, "arrived at the peer": peer} {
		for _, f := range c.take() {
			t.Errorf("%s: %v", where, f)
		}
	}

	// What a person sets down afterwards stays down.
	ip(t, "link", "set", "port0", "down")
	if again, raised, err := b.RaiseParent(t.Context(), wan, index); again != index || raised || err != nil || parentIsUp(b) {
		t.Errorf("set up again: %d, %v, %v", again, raised, err)
	}
	if !strings.Contains(strings.Join(b.observe().Warnings, "\n"), "parent port0 is down") {
		t.Errorf("warnings %q", b.observe().Warnings)
	}
	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "0")
	ip(t, "link", "set", "port0", "up")
	time.Sleep(noiseAfter)
	if len(out.take()) == 0 {
		t.Error("the control is silent, too: the test proves nothing")
	}
}

// What somebody has configured is left alone; without a parent there is nothing to
// do.
func TestRaiseParentThatIsNotOurs(t *testing.T) {
	b := newBench(t)
	ip(t, "link", "set", "port0", "down")
	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "0")
	for name, configure := range map[string]func() (undo func()){
		"an address": func() func() {
			ip(t, "addr", "add", "192.168.100.2/24", "dev", "port0")
			return func() { ip(t, "addr", "flush", "dev", "port0") }
		},
		"an IPv6 address": func() func() {
			ip(t, "addr", "add", "2001:db8::2/64", "dev", "port0")
			return func() { ip(t, "addr", "del", "2001:db8::2/64", "dev", "port0") }
		},
		"a bridge": func() func() {
			ip(t, "link", "add", "br0", "type", "bridge")
			ip(t, "link", "set", "port0", "master", "br0")
			return func() { ip(t, "link", "del", "br0") }
		},
	} {
		undo := configure()
		if index, raised, err := b.RaiseParent(t.Context(), wan, 0); index == 0 || raised || err != nil || parentIsUp(b) {
			t.Errorf("%s: %d, %v, %v", name, index, raised, err)
		}
		if text, err := os.ReadFile("/proc/sys/net/ipv6/conf/port0/disable_ipv6"); err != nil || string(text) != "0\n" {
			t.Errorf("%s: IPv6 was switched off: %q, %v", name, text, err)
		}
		undo()
	}
	nowhere := wan
	nowhere.Parent = "nowhere"
	if index, raised, err := b.RaiseParent(t.Context(), nowhere, 7); index != 0 || raised || err != nil {
		t.Errorf("no parent: %d, %v, %v", index, raised, err)
	}
}

// A promotion sets a parent up that is down, as silently.
func TestApplyRaisesTheParentSilently(t *testing.T) {
	b := newBench(t)
	ip(t, "link", "set", "port0", "down")
	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "0")
	out := newTap(t, "port0", true)
	b.apply(Desired{Link: wan})
	time.Sleep(noiseAfter)
	for _, f := range out.take() {
		t.Errorf("left the port: %v", f)
	}
}
