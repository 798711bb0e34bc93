package netif

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// lan makes a link for the router's other networks.
func lan(t *testing.T) {
	t.Helper()
	ip(t, "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
	t.Cleanup(func() { ip(t, "link", "del", "lan0") })
	ip(t, "link", "set", "lan0", "up")
	ip(t, "link", "set", "lan1", "up")
}

// TestOthers: what counts as another network of the router, and what does not.
func TestOthers(t *testing.T) {
	b := newBench(t)
	b.gateway()
	lan(t)
	t.Cleanup(func() {
		ip(t, "route", "del", "blackhole", "10.8.0.0/24")
		ip(t, "addr", "flush", "dev", "port0")
		ip(t, "link", "set", "port0", "mtu", "1500")
	})
	ip(t, "addr", "add", "192.168.10.2/24", "dev", "lan0")
	ip(t, "addr", "add", "192.168.10.1/32", "dev", "lan0") // a virtual address
	ip(t, "addr", "add", "10.9.0.1", "peer", "10.9.0.2/32", "dev", "lan0")
	ip(t, "addr", "add", "192.168.100.2/24", "dev", "port0") // to look at the modem
	ip(t, "route", "add", "10.20.0.0/16", "via", "192.168.10.9")
	ip(t, "route", "add", "10.21.0.0/16", "via", "192.168.10.9", "proto", "bgp")
	ip(t, "route", "add", "blackhole", "10.8.0.0/24")
	ip(t, "route", "add", "10.22.0.0/16", "nexthop", "via", "192.168.10.8", "nexthop", "via", "192.168.10.9")
	ip(t, "route", "add", "default", "via", "192.168.10.9", "metric", "700")
	ip(t, "route", "add", "10.23.0.0/16", "via", "192.168.100.1")                // over the parent
	ip(t, "route", "add", "10.24.0.0/16", "via", "192.168.10.9", "table", "100") // for a rule
	ip(t, "route", "add", "10.25.0.0/16", "via", "192.168.10.9", "proto", "220") // wanfail's own
	d := lease("198.51.100.77/24")
	d.Routes = append(d.Routes, Route{Dst: prefix("10.30.0.0/16"), Gateway: gatewayIP})
	b.apply(d)
	ip(t, "route", "add", "10.31.0.0/16", "via", "198.51.100.1", "dev", "wan") // as netifd does

	o, err := b.Others(t.Context(), wan)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range o.Networks {
		got[n.Prefix.String()] = n.Name
	}
	want := map[string]string{
		"192.168.10.0/24": "network of lan0",
		"192.168.10.1/32": "network of lan0",
		"10.9.0.1/32":     "network of lan0",
		"10.9.0.2/32":     "network of lan0",
		"10.20.0.0/16":    "route over lan0",
		"10.21.0.0/16":    "route over lan0",
		"10.22.0.0/16":    "route over several interfaces",
		"10.8.0.0/24":     "route that rejects packets",
	}
	delete(got, "127.0.0.0/8")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("networks %v\nwant     %v", got, want)
	}
	for _, a := range []string{"192.168.10.2", "192.168.10.1", "10.9.0.1", "192.168.100.2"} {
		if !slices.Contains(o.Addresses, addr(a)) {
			t.Errorf("%s is missing from %v", a, o.Addresses)
		}
	}
	if slices.Contains(o.Addresses, addr("198.51.100.77")) {
		t.Error("the WAN's own address is another's")
	}
	if o.ParentMTU != 1500 {
		t.Errorf("MTU of the parent %d", o.ParentMTU)
	}
	ip(t, "link", "set", "port0", "mtu", "1492")
	if o, err := b.Others(t.Context(), wan); err != nil || o.ParentMTU != 1492 {
		t.Errorf("MTU of the parent %d, %v", o.ParentMTU, err)
	}
	// A second WAN's network is no other network: both are the operator's.
	second := wan
	second.Name, second.MAC = "wan2", []byte{2, 0, 0, 0, 0, 9}
	o, err = b.Others(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(o.Networks, func(n Network) bool { return n.Prefix.Contains(addr("198.51.100.9")) }) {
		t.Errorf("networks %v", o.Networks)
	}
	if !slices.Contains(o.Addresses, addr("198.51.100.77")) {
		t.Error("the other WAN's address is missing")
	}
	if _, err := b.Others(t.Context(), Link{Name: "wan"}); err == nil {
		t.Error("a link without parent was accepted")
	}
}

// TestOthersOfAFullTable: a table of a routing daemon costs a bounded time.
func TestOthersOfAFullTable(t *testing.T) {
	b := newBench(t)
	lan(t)
	var batch strings.Builder
	for i := range 2 * maxOtherRoutes {
		fmt.Fprintf(&batch, "route add 20.%d.%d.%d/32 dev lan0 proto bgp\n", i>>16, i>>8&255, i&255)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(batch.String()), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	o, err := b.Others(t.Context(), wan)
	if err != nil || len(o.Networks) < maxOtherRoutes/2 || len(o.Networks) > maxOtherRoutes+1000 {
		t.Fatalf("%d networks, %v", len(o.Networks), err)
	}
	t.Logf("%d networks in %v", len(o.Networks), time.Since(start))
	// What follows must not find the rest of that answer.
	if addrs, err := b.nl.listAddrs(1); err != nil || slices.ContainsFunc(addrs, func(a address) bool { return a.prefix == netip.Prefix{} }) {
		t.Errorf("%v, %v", addrs, err)
	}
}

func BenchmarkOthers(b *testing.B) {
	m, err := New(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	for b.Loop() {
		if _, err := m.Others(b.Context(), wan); err != nil {
			b.Fatal(err)
		}
	}
}
