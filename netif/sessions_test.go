package netif

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addFlow adds the entry of a session from the LAN as a commit of the replicated
// table does: translated to an address, without a mark of the device.
func addFlow(t *testing.T, from, to netip.Addr, port uint16, translated netip.Addr) {
	t.Helper()
	dst := net.IPv4(203, 0, 113, 9).To4()
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, TimeOut: 600,
		Forward: netlink.IPTuple{SrcIP: from.AsSlice(), DstIP: dst, SrcPort: port, DstPort: 9, Protocol: unix.IPPROTO_UDP},
		Reverse: netlink.IPTuple{SrcIP: dst, DstIP: translated.AsSlice(), SrcPort: 9, DstPort: port, Protocol: unix.IPPROTO_UDP},
	}); err != nil {
		t.Fatal(err)
	}
}

// flows counts the entries by the address that they were translated to.
func flows(t *testing.T) map[string]int {
	t.Helper()
	list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, f := range list {
		n[f.Reverse.DstIP.String()]++
	}
	return n
}

// TestSessionsOfAFormerAddress end when the WAN has another one, whether it was
// renumbered here or the entries came from the peer.
func TestSessionsOfAFormerAddress(t *testing.T) {
	b := newBench(t)
	b.gateway()
	b.masquerade(b.withLAN()) // the kernel tracks connections where something asks for it
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatal(err)
	}
	former, now, other := addr("198.51.100.8"), wanIP, addr("198.51.100.9")
	d := lease("198.51.100.7/24")
	b.apply(d)
	for port := range uint16(3) {
		addFlow(t, lanIP, former, 4000+port, former)
		addFlow(t, lanIP, now, 5000+port, now)
		addFlow(t, lanIP, other, 6000+port, other)
	}
	d.Former = now
	if c := b.apply(d); !c.None() {
		t.Errorf("the same address: %q", c.Steps)
	}
	want := map[string]int{former.String(): 3, now.String(): 3, other.String(): 3}
	check := func(what string) {
		t.Helper()
		if got := flows(t); got[former.String()] != want[former.String()] || got[now.String()] != want[now.String()] || got[other.String()] != want[other.String()] {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("the same address")
	d.Former = former
	if c := b.apply(d); len(c.Steps) != 1 || c.Steps[0] != "end sessions" {
		t.Errorf("another one before: %q", c.Steps)
	}
	want[former.String()] = 0
	check("another one before")
	if c := b.apply(d); !c.None() {
		t.Errorf("again: %q", c.Steps)
	}
	// An address that another interface has got meanwhile is not given up.
	ip(t, "addr", "add", other.String()+"/32", "dev", "lan0")
	d.Former = other
	if c := b.apply(d); !c.None() {
		t.Errorf("one that is on another interface: %q", c.Steps)
	}
	check("one that is on another interface")
}

// TestManySessions: the others in the table cost a walk through it, no more.
func TestManySessions(t *testing.T) {
	b := newBench(t)
	b.masquerade(b.withLAN())
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatal(err)
	}
	const many = 20_000
	for i := range many {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		addFlow(t, from, wanIP, uint16(i), wanIP)
	}
	for i := range 100 {
		addFlow(t, lanIP, wanIP, uint16(4000+i), addr("198.51.100.8"))
	}
	start := time.Now()
	n, err := b.endSessions(addr("198.51.100.8"))
	took := time.Since(start)
	if n != 100 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	t.Logf("100 of %d: %v", many, took)
	if left := flows(t)[wanIP.String()]; left != many {
		t.Errorf("%d of the others are left", left)
	}
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatal(err)
	}
}
