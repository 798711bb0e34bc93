package netif

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// entries counts the conntrack entries of the test's flow.
func entries(t *testing.T) int {
	t.Helper()
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range flows {
		if f.Forward.DstIP.String() == "203.0.113.9" && f.Reverse.DstIP.String() == wanIP.String() {
			n++
		}
	}
	return n
}

// TestMuteKeepsMasqueradedFlows is what Mute is for: conntrackd would replicate
// the end of every entry. The controls show what ends them.
func TestMuteKeepsMasqueradedFlows(t *testing.T) {
	b := newBench(t)
	b.gateway()
	lan := b.withLAN()
	flow := b.masquerade(lan)
	d := lease("198.51.100.7/24")
	send := func() {
		t.Helper()
		if _, err := flow.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settle)
	}
	begin := func() {
		t.Helper()
		if c := b.apply(d); !c.None() {
			time.Sleep(settle) // the kernel deletes entries of a removed address in the background
		}
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			t.Fatal(err)
		}
		send()
		if entries(t) != 1 {
			t.Fatalf("%d entries of the flow, want 1", entries(t))
		}
	}
	out := newTap(t, "port0", true)
	silent := func() {
		t.Helper()
		if frames := out.take(); len(frames) > 0 {
			t.Errorf("left the port: %v", frames)
		}
	}

	begin()
	out.take()
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	// The backup's own way out must not take the flow with it.
	if _, err := b.EnsureBackupDefault(t.Context(), lanIP); err != nil {
		t.Fatal(err)
	}
	// Not even when the WAN's route goes, as OpenWrt's netifd takes it away when
	// it is told that the lease is over.
	ip(t, "route", "del", "default", "dev", "wan")
	send()
	if entries(t) != 1 {
		t.Error("the entry was lost to the backup's own default route")
	}
	silent()
	d.Routes[0].Metric = 20_000 // above whatever the backup's route could have
	b.apply(d)
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	send()
	if entries(t) != 1 {
		t.Error("the entry was lost to the backup's own default route, whose metric is less")
	}
	out.take()
	client := peerOf(t, lan, "client0")
	client.take()
	send()
	if entries(t) != 1 {
		t.Error("the entry was lost although the link is only mute")
	}
	for _, f := range client.take() {
		if f.etherType() == etherTypeIPv4 && f.data[14+9] == unix.IPPROTO_ICMP {
			t.Errorf("the client was told that the internet is unreachable: %v", f)
		}
	}
	silent()
	b.apply(d)
	// As the keeper does: without carrier the kernel has forgotten the gateway's MAC
	// address, and a packet that waits asks again only after a second.
	if _, err := b.ProbeGateway(t.Context(), "wan", wanIP, gatewayIP); err != nil {
		t.Error(err)
	}
	send()
	if len(out.take()) == 0 || entries(t) != 1 {
		t.Error("the flow does not go on after un-muting")
	}

	// The controls.
	reroute := func() {
		ip(t, "route", "add", "default", "via", lanIP.String(), "metric", "30000")
		ip(t, "route", "del", "default", "dev", "wan")
		send()
		ip(t, "route", "del", "default", "via", lanIP.String())
	}
	for name, end := range map[string]func(){
		"the WAN's default route goes, another takes over": reroute,
		"the link goes down":         func() { ip(t, "link", "set", "wan", "down") },
		"the address is removed":     func() { ip(t, "addr", "flush", "dev", "wan") },
		"the lease has another mask": func() { b.apply(lease("198.51.100.7/25")) },
		"the link is deleted":        func() { _, _ = b.Purge(t.Context(), wan) },
	} {
		begin()
		end()
		time.Sleep(settle)
		if n := entries(t); n != 0 {
			t.Errorf("%s: the entry lives (%d): the test proves less than it says", name, n)
		}
	}
	if ok, err := b.RemoveBackupDefault(t.Context()); !ok || err != nil {
		t.Error(ok, err)
	}
}
