package dhcp

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A lease file that was edited, or damaged into something that still is JSON, must
// not configure a network.
func TestDamagedLeaseFile(t *testing.T) {
	r := rig{now: fakeBoot}
	parse := func(change func(*leaseFile)) error {
		l := *r.held(time.Minute)
		l.DNS, l.Domain, l.Search, l.MTU = ips("192.0.2.53"), "example.net", []string{"example.net"}, 1500
		l.Routes = slices.Clone(l.Routes)
		m := leaseFile{Version: leaseFileVersion, Boot: "b", MAC: testMAC.String(), Lease: l}
		change(&m)
		b, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseLeaseFile(b, "b")
		return err
	}
	if err := parse(func(*leaseFile) {}); err != nil {
		t.Fatal(err)
	}
	route := func(dst string, gateway netip.Addr) func(*leaseFile) {
		return func(m *leaseFile) { m.Lease.Routes = append(m.Lease.Routes, Route{pfx(dst), gateway}) }
	}
	for name, change := range map[string]func(*leaseFile){
		"version":             func(m *leaseFile) { m.Version++ },
		"no address":          func(m *leaseFile) { m.Lease.Prefix = netip.Prefix{} },
		"IPv6 address":        func(m *leaseFile) { m.Lease.Prefix = pfx("2001:db8::1/64") },
		"mask 0":              func(m *leaseFile) { m.Lease.Prefix = pfx("192.0.2.100/0") },
		"loopback":            func(m *leaseFile) { m.Lease.Prefix = pfx("127.0.0.1/8") },
		"no server":           func(m *leaseFile) { m.Lease.Server = netip.Addr{} },
		"IPv6 broadcast":      func(m *leaseFile) { m.Lease.Broadcast = ip("ff02::1") },
		"another gateway":     func(m *leaseFile) { m.Lease.Gateway = ip("192.0.2.9") },
		"multicast gateway":   func(m *leaseFile) { m.Lease.Routes[0].Gateway = ip("224.0.0.1"); m.Lease.Gateway = ip("224.0.0.1") },
		"ourselves":           func(m *leaseFile) { m.Lease.Routes[0].Gateway = ip("192.0.2.100"); m.Lease.Gateway = ip("192.0.2.100") },
		"route with host bit": route("10.0.0.1/8", serverA),
		"IPv6 route":          route("2001:db8::/32", serverA),
		"route to loopback":   route("127.0.0.0/8", serverA),
		"same route twice":    route("0.0.0.0/0", serverA),
		"too many routes": func(m *leaseFile) {
			for i := range maxRoutes {
				route(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}).String()+"/24", serverA)(m)
			}
		},
		"name server":        func(m *leaseFile) { m.Lease.DNS = ips("0.0.0.0") },
		"many name servers":  func(m *leaseFile) { m.Lease.DNS = slices.Repeat(m.Lease.DNS, maxDNS+1) },
		"domain":             func(m *leaseFile) { m.Lease.Domain = "a\nnameserver 6.6.6.6" },
		"host name":          func(m *leaseFile) { m.Lease.Hostname = "$(id)" },
		"search":             func(m *leaseFile) { m.Lease.Search = []string{"a b"} },
		"empty search":       func(m *leaseFile) { m.Lease.Search = []string{""} },
		"long search":        func(m *leaseFile) { m.Lease.Search = slices.Repeat(m.Lease.Search, maxSearch+1) },
		"MTU":                func(m *leaseFile) { m.Lease.MTU = 575 },
		"negative MTU":       func(m *leaseFile) { m.Lease.MTU = -1 },
		"huge MTU":           func(m *leaseFile) { m.Lease.MTU = 65536 },
		"many omissions":     func(m *leaseFile) { m.Lease.Omitted = make([]string, maxOmitted+1) },
		"before boot":        func(m *leaseFile) { m.Lease.Acquired = -1 },
		"after the universe": func(m *leaseFile) { m.Lease.Acquired = never },
		"T1 zero":            func(m *leaseFile) { m.Lease.T1 = 0 },
		"T1 > T2":            func(m *leaseFile) { m.Lease.T1 = m.Lease.T2 },
		"T2 > TTL":           func(m *leaseFile) { m.Lease.T2 = m.Lease.TTL },
		"TTL":                func(m *leaseFile) { m.Lease.TTL = maxTTL + 1 },
		"infinite with T1":   func(m *leaseFile) { m.Lease.TTL = Infinite },
	} {
		if parse(change) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
