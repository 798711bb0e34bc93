package netif

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/lab/nstest"
)

func TestObserve(t *testing.T) {
	b := newBench(t)
	// expect compares the warnings with the beginnings that are given.
	expect := func(what string, o Observed, begin ...string) {
		t.Helper()
		ok := len(o.Warnings) == len(begin)
		for i := 0; ok && i < len(begin); i++ {
			ok = strings.Contains(o.Warnings[i], begin[i])
		}
		if !ok {
			t.Errorf("%s: warnings %q, want %q", what, o.Warnings, begin)
		}
	}
	o := b.observe()
	expect("nothing there", o)
	if o.Exists || o.Owned || o.Matches || !o.ParentExists || !o.ParentUp || !o.ParentCarrier || o.ParentMTU != 1500 || o.ParentMAC == "" {
		t.Errorf("nothing there: %+v", o)
	}
	d := lease("198.51.100.7/24")
	b.apply(d)
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	if o := b.observe(); !o.Matches || !o.Muted || !o.Up || len(o.Addresses) != 1 || !slices.Equal(o.Routes, d.Routes) {
		t.Errorf("mute: %+v", o)
	}

	ip(t, "addr", "add", "192.168.1.2/24", "dev", "port0")
	expect("parent with an address", b.observe(), "address 192.168.1.2/24")
	ip(t, "addr", "flush", "dev", "port0")

	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "0")
	expect("parent with IPv6", b.observe(), "sysctl -w net.ipv6.conf.port0.disable_ipv6=1")
	setSysctl(t, "net/ipv6/conf/port0/disable_ipv6", "1")

	ip(t, "addr", "add", "239.1.2.3", "dev", "port0", "autojoin")
	o = b.observe()
	if !slices.ContainsFunc(o.Warnings, func(w string) bool {
		return strings.Contains(w, "multicast groups on parent port0") && strings.Contains(w, "239.1.2.3")
	}) {
		t.Errorf("parent in a multicast group: %q", o.Warnings)
	}
	ip(t, "addr", "flush", "dev", "port0")

	setSysctl(t, "net/ipv6/conf/wan/disable_ipv6", "0")
	expect("link with IPv6", b.observe(), "wan may send IPv6")

	b.isp.Do(t, func() error { return command2(b.isp, "ip", "link", "set", "isp0", "down") })
	expect("no carrier", b.observe(), "no carrier", "wan may send IPv6")
	if o := b.observe(); o.Carrier || o.ParentCarrier || !o.ParentUp {
		t.Errorf("no carrier: %+v", o)
	}
	ip(t, "link", "set", "port0", "down")
	expect("parent down", b.observe(), "parent port0 is down", "wan may send IPv6")
	if _, err := b.Purge(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "set", "port0", "up")
	b.isp.Do(t, func() error { return command2(b.isp, "ip", "link", "set", "isp0", "up") })

	ip(t, "link", "add", "link", "port0", "name", "wan", "address", shared.String(), "type", "macvlan")
	o = b.observe()
	expect("foreign link", o, "is not wanfail's")
	if !o.Exists || o.Owned || o.Matches {
		t.Errorf("foreign: %+v", o)
	}
	ip(t, "link", "set", "wan", "name", "rival")
	expect("foreign twin", b.observe(), "that of macvlan rival")
	ip(t, "link", "del", "rival")

	own := wan
	l, err := b.nl.getLink("port0")
	if err != nil {
		t.Fatal(err)
	}
	own.MAC, own.MTU = []byte(l.mac), 9000
	o, err = b.Observe(t.Context(), own)
	if err != nil {
		t.Error(err)
	}
	expect("MAC of the parent, large MTU", o, "MTU 9000 is more", "that of veth port0")

	ip(t, "link", "add", "br0", "type", "bridge")
	ip(t, "link", "set", "port0", "master", "br0")
	expect("bridge port", b.observe(), "port of br0")
	ip(t, "link", "del", "br0")

	elsewhere := wan
	elsewhere.Parent = "port9"
	o, err = b.Observe(t.Context(), elsewhere)
	if err != nil || o.ParentExists {
		t.Errorf("%+v, %v", o, err)
	}
	expect("no parent", o, "parent port9 does not exist")
}

func command2(ns *nstest.NS, name string, args ...string) error {
	return ns.Command(name, args...).Run()
}

func TestParseIGMP(t *testing.T) {
	// The kernel prints an address as a number of the machine's byte order.
	group := func(a ...byte) string {
		return fmt.Sprintf("\t\t\t\t%08X     1 0:00000000\t\t0\n", binary.NativeEndian.Uint32(a))
	}
	file := "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n" + group(224, 0, 0, 1) +
		"7\teth2      :     3      V3\n" + group(224, 0, 0, 251) + group(224, 0, 0, 1) + group(224, 0, 0, 18) +
		"8\teth2.7    :     1      V3\n" + group(224, 0, 0, 22)
	for device, want := range map[string][]string{"lo": nil, "eth2": {"224.0.0.251", "224.0.0.18"}, "eth2.7": {"224.0.0.22"}, "eth": nil} {
		got, err := parseIGMP(strings.NewReader(file), device)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", device, got, err, want)
		}
	}
	if _, err := parseIGMP(strings.NewReader("1\tlo:\n\t\t\t\tnonsense\n"), "lo"); err == nil {
		t.Error("nonsense was accepted")
	}
}

// FuzzMessages: what the kernel sends is trusted, yet no message may panic.
func FuzzMessages(f *testing.F) {
	c, err := dial()
	if err != nil {
		f.Fatal(err)
	}
	defer c.close()
	for _, typ := range []int{16, 20, 24} { // RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE
		msgs, err := c.do(typ+2, 0x300, payload(make([]byte, map[int]int{16: 16, 20: 8, 24: 12}[typ])))
		if err != nil || len(msgs) == 0 {
			f.Fatalf("dump %d: %d messages, %v", typ, len(msgs), err)
		}
		for _, m := range msgs {
			f.Add(m)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		_, _ = parseLink(msg)
		if _, a, ok := parseAddr(msg); ok && !a.prefix.Addr().IsValid() {
			t.Errorf("address %v", a)
		}
		if r, ok := parseRoute(msg); ok && !r.dst.IsValid() {
			t.Errorf("route %v", r)
		}
	})
}
