package netif

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab/nstest"
)

// noiseAfter is when IPv6 has said what it says by itself: its delays are random
// within one second (RFC 4861 and 4862).
const noiseAfter = 1200 * time.Millisecond

// peerTap captures at the other end of the cable.
func (b *bench) peerTap() *tap { return peerOf(b.t, b.isp, "isp0") }

// TestWholeLifeIsSilent runs a link through its life and captures on the peer.
// The control is a macvlan that nobody silenced, in the same run.
func TestWholeLifeIsSilent(t *testing.T) {
	b := newBench(t)
	peer, out := b.peerTap(), newTap(t, "port0", true)
	setSysctl(t, "net/ipv4/ip_forward", "1")
	setSysctl(t, "net/ipv6/conf/all/forwarding", "1") // a router joins more IPv6 groups
	life := func() {
		d := lease("198.51.100.7/24")
		b.apply(Desired{Link: wan})
		b.apply(d)
		time.Sleep(noiseAfter)
		d.Addr = prefix("198.51.100.8/24")
		b.apply(d)
		b.apply(Desired{Link: wan})
		b.apply(d)
		if err := b.Mute(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
		b.apply(d)
		if err := b.Mute(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Purge(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
		b.apply(d)
		if _, err := b.Purge(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
	}
	life()
	ip(t, "link", "add", "link", "port0", "name", "loud", "address", "02:00:00:00:00:01", "type", "macvlan", "mode", "bridge")
	ip(t, "link", "set", "loud", "up")
	time.Sleep(noiseAfter)
	ip(t, "link", "del", "loud")
	for where, c := range map[string]*tap{"left the port": out, "arrived at the peer": peer} {
		noise := 0
		for _, f := range c.take() {
			if f.from(net.HardwareAddr{2, 0, 0, 0, 0, 1}) {
				noise++
				continue
			}
			t.Errorf("%s: %v", where, f)
		}
		if noise == 0 {
			t.Errorf("nothing of the loud macvlan %s: the test proves nothing", where)
		}
	}
}

// TestParentDoesNotAnswerForTheWAN: without arp_ignore the parent answers the
// gateway's question for the WAN's address, with its own MAC.
func TestParentDoesNotAnswerForTheWAN(t *testing.T) {
	b := newBench(t)
	b.gateway()
	b.apply(lease("198.51.100.7/24"))
	var gw net.HardwareAddr
	b.isp.Do(t, func() error {
		ifi, err := net.InterfaceByName("isp0")
		gw = ifi.HardwareAddr
		return err
	})
	ask := arp{op: arpRequest, senderMAC: gw, senderIP: gatewayIP, targetMAC: make(net.HardwareAddr, 6), targetIP: wanIP}.frame()
	peer := b.peerTap()
	// answers waits for one of the WAN, and for one of the parent where one is due.
	answers := func(due bool) (ours, others int) {
		b.isp.Do(t, func() error { return inject("isp0", ask) })
		count := func() {
			for _, f := range peer.take() {
				if f.from(shared) {
					ours++
				} else {
					others++
				}
			}
		}
		waitFor(t, "the answers", func() bool { count(); return ours > 0 && (others > 0 || !due) })
		time.Sleep(settle)
		count()
		return ours, others
	}
	if ours, others := answers(false); ours != 1 || others != 0 {
		t.Errorf("%d answers of the WAN, %d of the parent, want 1 and 0", ours, others)
	}
	setSysctl(t, "net/ipv4/conf/port0/arp_ignore", "0")
	answers(true) // else the parent is quiet anyway, and the test proves nothing
	if c := b.apply(lease("198.51.100.7/24")); len(c.Steps) != 1 {
		t.Errorf("healing took %q", c.Steps)
	}
	if _, others := answers(false); others != 0 {
		t.Error("the parent answers again")
	}
	setSysctl(t, "net/ipv4/conf/port0/arp_ignore", "8")
	if c := b.apply(lease("198.51.100.7/24")); !c.None() {
		t.Errorf("a stricter setting was changed: %q", c.Steps)
	}
}

// masquerade sets up source NAT on the WAN and a flow from the LAN through it.
func (b *bench) masquerade(lan *nstest.NS) (flow net.Conn) {
	b.t.Helper()
	rules := b.t.TempDir() + "/rules.nft"
	const text = `table ip nat {
	chain post {
		type nat hook postrouting priority srcnat
		oifname "wan" masquerade
	}
}
`
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if out, err := command("nft", "-f", rules); err != nil {
		b.t.Fatalf("nft: %v: %s", err, out)
	}
	b.t.Cleanup(func() { _, _ = command("nft", "flush", "ruleset") })
	lan.Do(b.t, func() (err error) {
		flow, err = net.Dial("udp4", "203.0.113.9:9")
		return err
	})
	b.t.Cleanup(func() { flow.Close() })
	return flow
}

// peerOf captures what arrives at a device of another namespace.
func peerOf(t *testing.T, ns *nstest.NS, device string) *tap {
	var c *tap
	ns.Do(t, func() error {
		c = newTap(t, device, false)
		return nil
	})
	return c
}
