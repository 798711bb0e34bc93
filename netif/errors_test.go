package netif

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// TestApplyErrors: each obstacle is named, and leaves neither a half-made link
// nor a changed foreign one.
func TestApplyErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		setup  func(b *bench, d *Desired)
		is     error
		says   []string
		exists bool // a link named wan exists afterwards: the foreign one
	}{
		{"no parent", func(_ *bench, d *Desired) { d.Link.Parent = "port9" }, ErrNoParent, []string{"port9", "wan"}, false},
		{"parent is no Ethernet device", func(_ *bench, d *Desired) { d.Link.Parent = "lo" }, nil, []string{"lo", "not an Ethernet device"}, false},
		{"parent is a bridge port", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "br0", "type", "bridge")
			b.t.Cleanup(func() { ip(b.t, "link", "del", "br0") })
			ip(b.t, "link", "set", "port0", "master", "br0")
		}, unix.EBUSY, []string{"port0", "port of a bridge"}, false},
		{"foreign macvlan with the name", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "link", "port0", "name", "wan", "address", shared.String(), "type", "macvlan", "mode", "bridge")
		}, ErrForeign, []string{"macvlan wan", "choose another name"}, true},
		{"foreign bridge with the name", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "wan", "type", "bridge")
		}, ErrForeign, []string{"bridge wan"}, true},
		{"foreign bridge with mark and name", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "wan", "type", "bridge")
			ip(b.t, "link", "set", "wan", "group", "2002873958", "alias", Alias)
		}, ErrForeign, []string{"bridge wan"}, true},
		{"foreign link with the alternative name", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "br0", "type", "bridge")
			b.t.Cleanup(func() { ip(b.t, "link", "del", "br0") })
			ip(b.t, "link", "property", "add", "dev", "br0", "altname", "wan")
		}, ErrForeign, []string{"bridge br0"}, true},
		{"foreign macvlan with the MAC", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "link", "port0", "name", "rival", "address", shared.String(), "type", "macvlan", "mode", "bridge")
			b.t.Cleanup(func() { ip(b.t, "link", "del", "rival") })
			ip(b.t, "link", "set", "rival", "up")
		}, ErrTwin, []string{"macvlan rival", shared.String(), "port0"}, false},
		{"the parent has the MAC", func(b *bench, _ *Desired) {
			ip(b.t, "link", "set", "port0", "address", shared.String())
		}, ErrTwin, []string{"veth port0", "another MAC"}, false},
		{"macvlan with the MAC in another namespace", func(b *bench, _ *Desired) {
			ip(b.t, "link", "add", "link", "port0", "name", "away", "address", shared.String(), "type", "macvlan", "mode", "bridge")
			other := nstest.New(b.t)
			ip(b.t, "link", "set", "away", "netns", inherit(b.t, other))
			other.Do(b.t, func() error { return exec.Command("ip", "link", "set", "away", "up").Run() })
		}, ErrTwin, []string{"another network namespace"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			d := lease("198.51.100.7/24")
			c.setup(b, &d)
			before, _ := command("ip", "-d", "link", "show", "wan")
			_, err := b.Apply(t.Context(), d)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %v", err, c.is)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			after, showErr := command("ip", "-d", "link", "show", "wan")
			if c.exists != (showErr == nil) {
				t.Errorf("link wan: %s", after)
			}
			if c.exists && after != before {
				t.Errorf("the foreign link was changed:\n%s\n%s", before, after)
			}
			if c.exists && !errors.Is(c.is, ErrTwin) && !strings.Contains(c.name, "alternative") {
				if ok, err := b.Purge(t.Context(), wan); ok || !errors.Is(err, ErrForeign) {
					t.Errorf("purge of a foreign link: %v, %v", ok, err)
				}
				ip(t, "link", "del", "wan")
			}
		})
	}
}

// inherit names a namespace so that ip(8), a child of this process, can open it.
func inherit(t *testing.T, ns *nstest.NS) string {
	t.Helper()
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(ns.FD())
}

func TestTwinOfOursIsReplaced(t *testing.T) {
	b := newBench(t)
	d := lease("198.51.100.7/24")
	d.Link.Name = "former"
	b.apply(d)
	d.Link.Name = "wan" // the section was renamed in the configuration
	c := b.apply(d)
	if !c.Created || !b.observe().Up {
		t.Errorf("steps %q", c.Steps)
	}
	if _, err := b.nl.getLink("former"); !errors.Is(err, ErrNoLink) {
		t.Errorf("former link: %v", err)
	}
}

// withoutPrivilege runs f on a thread without capabilities.
func withoutPrivilege(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&hdr, &none[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWithoutPrivilege(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	withoutPrivilege(t, func() {
		m, err := New(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Error(err)
			return
		}
		defer m.Close()
		d := lease("198.51.100.7/24")
		if c, err := m.Apply(t.Context(), d); err != nil || !c.None() {
			t.Errorf("nothing to do: %v, %q", err, c.Steps)
		}
		if o, err := m.Observe(t.Context(), wan); err != nil || !o.Matches {
			t.Errorf("observe: %v, %+v", err, o)
		}
		_, purge := m.Purge(t.Context(), wan)
		_, backup := m.EnsureBackupDefault(t.Context(), netip.MustParseAddr("198.51.100.1"))
		d.Routes = nil
		_, apply := m.Apply(t.Context(), d)
		for name, err := range map[string]error{
			"mute": m.Mute(t.Context(), wan), "purge": purge, "apply": apply, "backup": backup,
			"announce": m.Announce(t.Context(), "wan", wanIP, shared),
		} {
			if !errors.Is(err, ErrPermission) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	good := lease("198.51.100.7/24")
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says   string
		change func(*Desired)
	}{
		{"name is empty", func(d *Desired) { d.Link.Name = "" }},
		{"longer than 15", func(d *Desired) { d.Link.Name = "sixteen-letters0" }},
		{"reserved", func(d *Desired) { d.Link.Name = ".." }},
		{"reserved", func(d *Desired) { d.Link.Name = "all" }},
		{"character", func(d *Desired) { d.Link.Name = "a/b" }},
		{"character", func(d *Desired) { d.Link.Name = "a b" }},
		{"parent of wan", func(d *Desired) { d.Link.Parent = "" }},
		{"own parent", func(d *Desired) { d.Link.Parent = "wan" }},
		{"not an Ethernet", func(d *Desired) { d.Link.MAC = nil }},
		{"multicast", func(d *Desired) { d.Link.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} }},
		{"all zero", func(d *Desired) { d.Link.MAC = make(net.HardwareAddr, 6) }},
		{"MTU 67", func(d *Desired) { d.Link.MTU = 67 }},
		{"no IPv4 host", func(d *Desired) { d.Addr = netip.MustParsePrefix("2001:db8::1/64") }},
		{"no IPv4 host", func(d *Desired) { d.Addr = prefix("0.0.0.0/0") }},
		{"no IPv4 host", func(d *Desired) { d.Addr = prefix("224.0.0.1/24") }},
		{"no IPv4 host", func(d *Desired) { d.Addr = prefix("255.255.255.255/32") }},
		{"without a prefix", func(d *Desired) { d.Addr = prefix("198.51.100.7/0") }},
		{"without an address", func(d *Desired) { d.Addr = netip.Prefix{} }},
		{"broadcast", func(d *Desired) { d.Broadcast = netip.MustParseAddr("::1") }},
		{"ended 1s ago", func(d *Desired) { d.Valid = -time.Second }},
		{"host bits", func(d *Desired) { d.Routes[0].Dst = prefix("10.0.0.1/8") }},
		{"not IPv4", func(d *Desired) { d.Routes[0].Dst = netip.Prefix{} }},
		{"gateway", func(d *Desired) { d.Routes[0].Gateway = netip.MustParseAddr("0.0.0.0") }},
		{"metric", func(d *Desired) { d.Routes[0].Metric = -1 }},
	} {
		d := lease("198.51.100.7/24")
		c.change(&d)
		if err := d.validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
	}
}
