package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// tunnel is office with the routes of a VPN that takes everything.
func tunnel() *Host {
	h := office()
	h.Networks = append(h.Networks, Network{pfx("0.0.0.0/1"), "route over tun0"}, Network{pfx("128.0.0.0/1"), "route over tun0"})
	return h
}

// office is a router with a LAN, a link to its peer, a VPN and static routes.
func office() *Host {
	return &Host{
		ParentMTU: 1500,
		Networks: []Network{
			{pfx("192.168.10.0/24"), "network of br-lan"},
			{pfx("10.255.0.0/30"), "network of eth3"},
			{pfx("10.8.0.0/16"), "route over tun0"},
			{pfx("172.31.255.1/32"), "backup_gateway"},
			{pfx("11.0.0.0/8"), "route over tun0"},
		},
		Addresses: ips("192.168.10.2", "10.255.0.1", "100.100.0.1"),
	}
}

func TestReviewOfAddresses(t *testing.T) {
	for lease, want := range map[string]string{
		"192.0.2.100/24":    "",
		"192.168.10.77/24":  "192.168.10.0/24 (network of br-lan)", // of the LAN
		"192.168.10.3/32":   "192.168.10.0/24 (network of br-lan)", // of the peer
		"192.168.10.129/25": "192.168.10.0/24 (network of br-lan)",
		"10.255.0.2/30":     "10.255.0.0/30 (network of eth3)",
		"10.8.200.7/24":     "10.8.0.0/16 (route over tun0)",
		"11.9.0.7/24":       "11.0.0.0/8 (route over tun0)",
		"172.31.255.1/24":   "172.31.255.1/32 (backup_gateway)",
		"100.100.0.1/24":    "this router's already",
		"192.168.11.7/16":   "", // around the LAN, whose own route is longer
		"10.9.0.7/8":        "", // around the VPN
		"192.168.11.7/24":   "", // beside the LAN
	} {
		c := testConfig()
		l := testLease(serverA, "192.0.2.100")
		l.Prefix, l.Routes, l.Gateway = pfx(lease), nil, netip.Addr{}
		got, err := c.review(l, tunnel())
		switch {
		case want == "" && (err != nil || got != l):
			t.Errorf("%s: %v", lease, err)
		case want != "" && (got != nil || err == nil || !strings.Contains(err.Error(), want) || finding(err) != Conflict):
			t.Errorf("%s: %v, want one about %q", lease, err, want)
		}
	}
	c := testConfig()
	c.Expect = pfx("192.0.2.64/26")
	if _, err := c.review(testLease(serverA, "192.0.2.100"), &Host{}); err != nil {
		t.Error(err)
	}
	if l, err := c.review(testLease(serverA, "192.0.2.7"), &Host{}); l != nil || finding(err) != UnexpectedAddress || !strings.Contains(err.Error(), "192.0.2.64/26") {
		t.Errorf("%v, %v", l, err)
	}
}

func TestReviewOfRoutes(t *testing.T) {
	const gw = "192.0.2.1"
	def := Route{defaultDst, ip(gw)}
	for name, c := range map[string]struct {
		routes  []string
		want    []string
		omitted []string
	}{
		"the default route": {[]string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}, nil},
		"the LAN, its halves and the peer": {
			[]string{"192.168.10.0/24", "192.168.10.0/25", "192.168.10.128/25", "192.168.10.3/32", "0.0.0.0/0"},
			[]string{"0.0.0.0/0"},
			[]string{"192.168.10.0/24", "192.168.10.0/25", "192.168.10.128/25", "192.168.10.3/32"},
		},
		"the link to the peer":     {[]string{"10.255.0.0/30"}, nil, []string{"10.255.0.0/30"}},
		"what is routed elsewhere": {[]string{"10.8.3.0/24", "11.0.0.0/8", "198.51.100.0/24"}, []string{"198.51.100.0/24"}, []string{"10.8.3.0/24", "11.0.0.0/8"}},
		"multicast":                {[]string{"224.0.0.0/4", "239.1.2.0/24"}, nil, []string{"224.0.0.0/4", "239.1.2.0/24"}},
		"halves of the default":    {[]string{"0.0.0.0/1", "128.0.0.0/1"}, []string{"0.0.0.0/0"}, []string{"0.0.0.0/1", "128.0.0.0/1"}},
		"quarters":                 {[]string{"192.0.0.0/2", "128.0.0.0/2", "64.0.0.0/2", "0.0.0.0/2"}, []string{"0.0.0.0/0"}, []string{"192.0.0.0/2", "128.0.0.0/2", "64.0.0.0/2", "0.0.0.0/2"}},
		"the lower half alone":     {[]string{"0.0.0.0/1"}, nil, []string{"0.0.0.0/1"}},
		"three quarters":           {[]string{"0.0.0.0/2", "128.0.0.0/1"}, nil, []string{"0.0.0.0/2", "128.0.0.0/1"}},
		"a half alone":             {[]string{"128.0.0.0/1"}, nil, []string{"128.0.0.0/1"}},
		"halves and the whole":     {[]string{"0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0"}, []string{"0.0.0.0/0"}, []string{"0.0.0.0/1", "128.0.0.0/1"}},
		"a seventh":                {[]string{"100.0.0.0/7"}, nil, []string{"100.0.0.0/7"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := testLease(serverA, "192.0.2.100")
			l.Routes, l.Gateway = nil, netip.Addr{}
			for _, dst := range c.routes {
				l.Routes = append(l.Routes, Route{pfx(dst), ip(gw)})
			}
			if slices.Contains(l.Routes, def) {
				l.Gateway = ip(gw)
			}
			got, err := testConfig().review(l, office())
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, r := range got.Routes {
				have = append(have, r.Dst.String())
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("routes %v, want %v", have, c.want)
			}
			if (got.Gateway == ip(gw)) != slices.Contains(c.want, "0.0.0.0/0") {
				t.Errorf("gateway %v", got.Gateway)
			}
			if !slices.EqualFunc(got.Omitted, c.omitted, func(a, b string) bool { return strings.HasPrefix(a, "route to "+b+": ") }) {
				t.Errorf("omitted %q, want %v", got.Omitted, c.omitted)
			}
			if err := finished(got).validate(); err != nil {
				t.Error(err)
			}
		})
	}
	// Around another network, whose own route is longer: nothing is taken from it.
	h := office()
	l := testLease(serverA, "192.0.2.100")
	l.Routes = append(l.Routes, Route{pfx("10.0.0.0/8"), serverA}, Route{pfx("192.168.0.0/16"), serverA}, Route{pfx("192.168.11.0/24"), serverA})
	if got, err := testConfig().review(l, h); got != l || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	// A VPN that takes everything is bypassed by no route, and keeps its halves.
	l.Routes = []Route{{defaultDst, serverA}, {pfx("198.51.100.0/24"), serverA}}
	if got, err := testConfig().review(l, tunnel()); err != nil || len(got.Routes) != 1 || got.Gateway != serverA || len(got.Omitted) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	// A gateway that is this router.
	l.Routes = []Route{{defaultDst, ip("192.168.10.2")}, {pfx("10.0.0.0/8"), serverA}}
	l.Gateway = ip("192.168.10.2")
	if got, err := testConfig().review(l, h); err != nil || got.Gateway.IsValid() || len(got.Routes) != 1 || len(got.Omitted) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	// A flood of them does not flood the status.
	l.Routes, l.Gateway = nil, netip.Addr{}
	for i := range maxRoutes {
		l.Routes = append(l.Routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 10, byte(i)}), 32), serverA})
	}
	got, err := testConfig().review(l, h)
	if err != nil || len(got.Omitted) != maxOmitted || got.Omitted[maxOmitted-1] != fmt.Sprintf("and %d more", maxRoutes-maxOmitted+1) {
		t.Errorf("omitted %q, %v", got.Omitted, err)
	}
}

func TestReviewOfTheRest(t *testing.T) {
	l := testLease(serverA, "192.0.2.100")
	l.DNS = ips("192.168.10.2", "192.0.2.53", "192.0.2.100", "100.100.0.1")
	got, err := testConfig().review(l, office())
	if err != nil || !slices.Equal(got.DNS, ips("192.0.2.53")) || len(got.Omitted) != 3 || !slices.Equal(got.Routes, l.Routes) || got.Gateway != l.Gateway {
		t.Errorf("%+v, %v", got, err)
	}
	if len(l.DNS) != 4 {
		t.Error("the lease that was given has changed")
	}
	for _, c := range []struct{ given, parent, want int }{
		{0, 0, 0}, {0, 9000, 0}, {9000, 0, 1500}, {9000, 9000, 9000}, {9000, 1492, 1492}, {1492, 1500, 1492}, {1400, 300, 576},
	} {
		l := testLease(serverA, "192.0.2.100")
		l.MTU = c.given
		if got, err := testConfig().review(l, &Host{ParentMTU: c.parent}); err != nil || got.MTU != c.want || len(got.Omitted) != 0 {
			t.Errorf("MTU %d on a parent with %d: %+v, %v", c.given, c.parent, got, err)
		}
	}
}

// The routes that the kernel would refuse are left out by the parser.
func TestRoutesThroughBroadcast(t *testing.T) {
	decode := func(opts ...Option) *Lease {
		m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(opts...)...))
		if err != nil || m.lease == nil {
			t.Fatal(err, m.refusal)
		}
		return m.lease
	}
	if l := decode(opt(121, "00 c00002ff 08 0a c0000207")); l.Gateway.IsValid() || len(l.Routes) != 1 {
		t.Errorf("the broadcast address as gateway: %+v", l)
	}
	if l := decode(opt(28, "c0000201")); l.Broadcast != ip("192.0.2.255") || l.Gateway != ip("192.0.2.1") {
		t.Errorf("the gateway as broadcast address: %+v", l)
	}
	// Where there is no broadcast address, the last one is a host's.
	if l := decode(opt(1, "fffffffe"), opt(3, "c0000265")); l.Gateway != ip("192.0.2.101") {
		t.Errorf("/31: %+v", l)
	}
}

// fakeRouter is what a client is told of the router around it.
type fakeRouter struct {
	mu      sync.Mutex
	answer  Host
	failure error
	calls   int
}

func (r *fakeRouter) host() (Host, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	return r.answer, r.failure
}

// set changes the router, and returns how often it was asked so far.
func (r *fakeRouter) set(h Host, failure error) (calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer, r.failure = h, failure
	return r.calls
}

// A loop with a router around it.
func TestLoopComparesWithTheRouter(t *testing.T) {
	cfg := testConfig()
	router := &fakeRouter{}
	cfg.Host = router.host
	inBubble(t, cfg, func(b *bubble) {
		lan := Network{pfx("192.0.2.0/24"), "network of br-lan"}
		router.set(Host{Networks: []Network{lan}}, nil)
		b.run()
		newest := b.drain()
		time.Sleep(time.Hour)
		if u := newest(); u.Lease != nil || u.Diagnosis != Conflict || !strings.Contains(u.Detail, "br-lan") {
			t.Fatalf("a lease in the LAN: %+v", u)
		}
		if n := len(b.net.log()); n < 55 || n > 70 {
			t.Errorf("%d packets in an hour", n)
		}
		if got := b.net.log(); slices.Contains(got, "REQUEST") {
			t.Errorf("sent %v", got)
		}
		router.set(Host{}, nil)
		time.Sleep(2 * time.Minute)
		if u := newest(); u.State != Bound || u.Diagnosis != OK {
			t.Fatalf("without the conflict: %+v", u)
		}
		// The LAN gets a network that has a route of the lease, then one that has its
		// address: seen when the keeper says anything.
		router.set(Host{Addresses: ips("192.0.2.1")}, nil)
		b.client.Carrier(true)
		if u := newest(); u.Lease == nil || u.Lease.Gateway.IsValid() || len(u.Lease.Omitted) != 1 {
			t.Errorf("with the gateway's address on the LAN: %+v with %+v", u, u.Lease)
		}
		if n := b.logged.count("left out of the lease: route to 0.0.0.0/0"); n != 1 {
			t.Errorf("said %d times", n)
		}
		router.set(Host{Networks: []Network{lan}}, errors.New("out of order"))
		time.Sleep(2 * time.Second)
		b.client.Carrier(true)
		if u := newest(); u.Lease == nil {
			t.Errorf("without an answer: %+v", u)
		}
		router.set(Host{Networks: []Network{lan}}, nil)
		time.Sleep(2 * time.Second)
		b.client.Carrier(true)
		if u := newest(); u.Lease != nil || u.Diagnosis != Conflict {
			t.Errorf("with the address on the LAN: %+v", u)
		}
		if n := b.logged.count("cannot compare leases"); n != 1 {
			t.Errorf("said %d times", n)
		}
		// Many requests in a row are one.
		router.set(Host{}, nil)
		time.Sleep(2 * time.Minute)
		if newest().State != Bound {
			t.Fatalf("%+v", newest())
		}
		before := router.set(Host{}, nil)
		for range 100 {
			b.client.Carrier(true)
			newest()
		}
		if n := router.set(Host{}, nil) - before; n > 1 {
			t.Errorf("asked %d times at once", n)
		}
	})
}

// A remembered lease is compared before it is used.
func TestLoopComparesTheRememberedLease(t *testing.T) {
	cfg := testConfig()
	cfg.LeaseFile = PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	r := rig{now: fakeBoot}
	if err := cfg.remember(r.held(time.Minute)); err != nil {
		t.Fatal(err)
	}
	cfg.Host = func() (Host, error) {
		return Host{Networks: []Network{{pfx("192.0.2.96/28"), "network of br-lan"}}}, nil
	}
	inBubble(t, cfg, func(b *bubble) {
		b.run()
		if u := <-b.updates; u.Lease != nil || u.State != Selecting {
			t.Errorf("first update %+v", u)
		}
		newest := b.drain()
		time.Sleep(time.Minute)
		if u := newest(); u.Lease != nil || slices.Contains(b.net.log(), "REBOOT") {
			t.Errorf("%+v, sent %v", u, b.net.log())
		}
	})
}
