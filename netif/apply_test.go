package netif

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

var fromNothing = []string{"quiet parent", "add link", "mark link", "disable ipv6", "set up link", "add address", "add route"}

func TestApplyFromNothingAndAgain(t *testing.T) {
	b := newBench(t)
	mon := newMonitor(t)
	d := lease("198.51.100.7/24")
	d.Link.MTU = 1400
	start := time.Now()
	c := b.apply(d)
	t.Logf("from nothing: %v", time.Since(start))
	if !slices.Equal(c.Steps, fromNothing) || !slices.Equal(b.steps, fromNothing) {
		t.Errorf("steps %q, announced %q, want %q", c.Steps, b.steps, fromNothing)
	}
	if !c.Created || !c.Addr || !c.Routes || c.Unmuted {
		t.Errorf("changes: %+v", c)
	}
	o := b.observe()
	if !o.Exists || !o.Owned || !o.Matches || !o.Up || !o.Carrier || o.Muted || o.MTU != 1400 || o.Kind != "macvlan" || o.MAC != shared.String() {
		t.Errorf("observed %+v", o)
	}
	if len(o.Addresses) != 1 || o.Addresses[0].Prefix != d.Addr || !o.Addresses[0].Owned || o.Addresses[0].Valid < 59*time.Minute {
		t.Errorf("addresses %+v", o.Addresses)
	}
	if !slices.Equal(o.Routes, d.Routes) {
		t.Errorf("routes %+v, want %+v", o.Routes, d.Routes)
	}
	if len(o.Warnings) > 0 {
		t.Errorf("warnings: %q", o.Warnings)
	}
	if s := ip(t, "-d", "link", "show", "wan"); !strings.Contains(s, "alias "+Alias) || !strings.Contains(s, "mode bridge") || !strings.Contains(s, "addrgenmode none") {
		t.Error(s)
	}
	if s := ip(t, "addr", "show", "wan"); !strings.Contains(s, "brd 198.51.100.255") {
		t.Error(s)
	}
	if len(mon.fence(t)) == 0 {
		t.Fatal("the monitor saw nothing of an Apply that made everything")
	}
	b.steps = nil
	for range 3 {
		if c := b.apply(d); !c.None() {
			t.Errorf("same state again: %q", c.Steps)
		}
	}
	if msgs := mon.fence(t); len(msgs) > 0 || len(b.steps) > 0 {
		t.Errorf("same state again caused %d messages: %q %q", len(msgs), msgs, b.steps)
	}
}

func TestApplyIsFast(t *testing.T) {
	b := newBench(t)
	best := time.Hour
	for range 10 {
		start := time.Now()
		b.apply(lease("198.51.100.7/24"))
		best = min(best, time.Since(start))
		if _, err := b.Purge(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("from nothing to address and route: %v", best)
	if best > 10*time.Millisecond { // half a millisecond normally; the race detector and other tests take their share
		t.Errorf("Apply from nothing took at least %v", best)
	}
}

// addresses and routes as ip(8) shows them, short.
func (b *bench) addresses() []string {
	var s []string
	for _, a := range b.observe().Addresses {
		s = append(s, a.Prefix.String())
	}
	slices.Sort(s)
	return s
}

func (b *bench) routeStrings() []string {
	var s []string
	for _, r := range b.observe().Routes {
		s = append(s, r.String())
	}
	slices.Sort(s)
	return s
}

func TestApplyFollowsTheLease(t *testing.T) {
	b := newBench(t)
	other := netip.MustParseAddr("198.51.100.2")
	def := prefix("0.0.0.0/0")
	// At every step after the first address there is a way to the internet.
	gap := func() {
		if routes, err := netlink.RouteGet(net.IPv4(203, 0, 113, 9)); err != nil || len(routes) != 1 {
			t.Errorf("no default route before step %q: %v", b.steps[len(b.steps)-1], err)
		}
	}
	b.apply(lease("198.51.100.7/24"))
	step := b.step
	b.Manager.step = func(s string) { step(s); gap() }
	for _, c := range []struct {
		name   string
		change func(*Desired)
		steps  []string
	}{
		{"another mask", func(d *Desired) { d.Addr = prefix("198.51.100.7/25") }, []string{"add address", "delete address"}},
		{"a wider mask", func(d *Desired) { d.Addr = prefix("198.51.100.7/16") }, []string{"add address", "delete address"}},
		{"another address of the prefix", func(d *Desired) { d.Addr = prefix("198.51.100.8/16") }, []string{"add address", "delete address"}},
		{"another gateway", func(d *Desired) { d.Routes[0].Gateway = other }, []string{"add route", "delete route"}},
		{"another metric", func(d *Desired) { d.Routes[0].Metric = 50 }, []string{"add route", "delete route"}},
		{"another prefix", func(d *Desired) {
			d.Addr = prefix("203.0.113.20/29")
			d.Routes[0].Gateway = netip.MustParseAddr("203.0.113.17")
		}, []string{"add address", "add route", "delete route", "delete address"}},
		{"a host address with its gateway elsewhere", func(d *Desired) {
			d.Addr = prefix("203.0.113.20/32")
			d.Routes[0].Gateway = other
		}, []string{"add address", "add route", "delete route", "delete address"}},
		{"more routes, the gateway reached by one of them", func(d *Desired) {
			d.Routes = []Route{
				{Dst: def, Gateway: netip.MustParseAddr("10.0.0.1")},
				{Dst: prefix("10.1.0.0/16"), Gateway: other, OnLink: true},
				{Dst: prefix("10.0.0.1/32")},
				{Dst: prefix("10.0.0.1/32")}, // servers send duplicates
			}
		}, []string{"add route", "add route", "add route", "delete route"}},
		{"the route of the prefix, which the kernel makes, too", func(d *Desired) {
			d.Addr = prefix("10.2.3.4/24")
			d.Routes = append(d.Routes, Route{Dst: prefix("10.2.3.0/24")})
		}, []string{"add address", "delete address"}},
		{
			"back", func(d *Desired) { *d = lease("198.51.100.7/24") },
			[]string{"add address", "add route", "delete route", "delete route", "delete route", "delete address"},
		},
	} {
		d := lease(b.addresses()[0])
		d.Routes = slices.Clone(b.observe().Routes)
		c.change(&d)
		got := b.apply(d)
		if !slices.Equal(got.Steps, c.steps) {
			t.Errorf("%s: steps %q, want %q", c.name, got.Steps, c.steps)
		}
		gap()
		if a := b.addresses(); !slices.Equal(a, []string{d.Addr.String()}) {
			t.Errorf("%s: addresses %q, want %s", c.name, a, d.Addr)
		}
		if again := b.apply(d); !again.None() {
			t.Errorf("%s: not stable: %q", c.name, again.Steps)
		}
		want := map[string]bool{}
		for _, r := range d.Routes {
			want[r.String()] = true
		}
		for _, r := range b.routeStrings() {
			if !want[r] {
				t.Errorf("%s: route %s is left over", c.name, r)
			}
		}
	}
	b.Manager.step = step
	if c := b.apply(Desired{Link: wan}); !slices.Equal(c.Steps, []string{"delete route", "delete address"}) {
		t.Errorf("no lease: %q", c.Steps)
	}
}

// TestRouteOfThePrefix: servers may name the prefix itself among the routes (RFC
// 3442), which the kernel makes with the address. It is not made twice.
func TestRouteOfThePrefix(t *testing.T) {
	b := newBench(t)
	d := lease("198.51.100.7/24")
	d.Routes = append(d.Routes, Route{Dst: prefix("198.51.100.0/24")})
	if c := b.apply(d); !slices.Equal(c.Steps, fromNothing) {
		t.Errorf("steps %q", c.Steps)
	}
	if c := b.apply(d); !c.None() {
		t.Errorf("again: %q", c.Steps)
	}
	if s := ip(t, "route", "show", "dev", "wan"); strings.Count(s, "198.51.100.0/24") != 1 {
		t.Error(s)
	}
}

func TestLifetime(t *testing.T) {
	b := newBench(t)
	d := lease("198.51.100.7/24")
	for _, c := range []struct {
		valid time.Duration
		steps int
	}{
		{time.Hour, len(fromNothing)},
		{time.Hour + 3*time.Second, 0},
		{time.Hour + 5*time.Second, 1},
		{time.Minute, 1},
		{Forever, 1},
		{0, 0},
		{200 * 365 * 24 * time.Hour, 0}, // more than the kernel can count
		{time.Hour, 1},
		{3*time.Second - time.Millisecond, 1},
		{5 * time.Second, 1}, // the renewal of a lease of seconds
		{6 * time.Second, 1},
		{6*time.Second - time.Millisecond, 0},
	} {
		d.Valid = c.valid
		if got := b.apply(d); len(got.Steps) != c.steps {
			t.Errorf("lifetime %v: %q, want %d steps", c.valid, got.Steps, c.steps)
		}
		have := b.observe().Addresses[0].Valid
		switch {
		case c.valid == time.Hour+3*time.Second:
		case c.valid == 0 || c.valid > 100*365*24*time.Hour:
			if have != Forever {
				t.Errorf("lifetime %v: kernel has %v", c.valid, have)
			}
		case have > c.valid+time.Second || have < c.valid-time.Second:
			t.Errorf("lifetime %v: kernel has %v", c.valid, have)
		}
	}
	// A keeper that died cannot renew: the kernel takes the address away, and
	// with the last address the routes.
	d.Valid = 300 * time.Millisecond
	b.apply(d)
	waitFor(t, "the address to expire", func() bool { return len(b.observe().Addresses) == 0 })
	if r := b.observe().Routes; len(r) != 0 {
		t.Errorf("routes outlive the lease: %v", r)
	}
	d.Valid = time.Minute
	if c := b.apply(d); !slices.Equal(c.Steps, []string{"add address", "add route"}) {
		t.Errorf("after expiry: %q", c.Steps)
	}
}

// TestApplyLeavesWhatOthersAdded: addresses and routes that somebody else put on
// the link, or has for the same destination elsewhere.
func TestApplyLeavesWhatOthersAdded(t *testing.T) {
	b := newBench(t)
	b.withLAN()
	ip(t, "route", "add", "default", "via", "192.0.2.9") // same destination and metric as the WAN's
	d := lease("198.51.100.7/24")
	b.apply(d)
	if r, err := netlink.RouteGet(net.IPv4(203, 0, 113, 9)); err != nil || !r[0].Gw.Equal(gatewayIP.AsSlice()) {
		t.Errorf("the WAN's default route is not preferred: %v, %v", r, err)
	}
	ip(t, "addr", "add", "192.168.100.2/24", "dev", "wan") // the modem's own network
	ip(t, "route", "add", "10.9.0.0/16", "via", "192.168.100.1")
	if c := b.apply(d); !c.None() {
		t.Errorf("with foreign additions: %q", c.Steps)
	}
	d.Addr, d.Routes[0].Gateway = prefix("203.0.113.20/24"), netip.MustParseAddr("203.0.113.1")
	b.apply(d)
	if s := ip(t, "route"); !strings.Contains(s, "default via 192.0.2.9 dev lan0") || !strings.Contains(s, "10.9.0.0/16 via 192.168.100.1") {
		t.Error("foreign routes are lost:\n" + s)
	}
	if a := b.addresses(); !slices.Equal(a, []string{"192.168.100.2/24", "203.0.113.20/24"}) {
		t.Errorf("addresses %q", a)
	}
	// A route that another program made just as desired is not made twice.
	ip(t, "route", "del", "default", "dev", "wan")
	ip(t, "route", "append", "default", "via", "203.0.113.1", "proto", "static")
	if c := b.apply(d); !c.None() {
		t.Errorf("with a foreign route as desired: %q", c.Steps)
	}
	ip(t, "route", "del", "default", "via", "192.0.2.9")
}

func TestApplyHeals(t *testing.T) {
	b := newBench(t)
	ip(t, "link", "add", "port1", "type", "veth", "peer", "name", "unplugged1")
	defer ip(t, "link", "del", "port1")
	d := lease("198.51.100.7/24")
	b.apply(d)
	parentOf := func() string { return b.observe().Parent }
	for _, c := range []struct {
		name  string
		harm  func()
		steps []string
	}{
		{"link down", func() { ip(t, "link", "set", "wan", "down") }, []string{"set up link", "add route"}},
		{"link deleted", func() { ip(t, "link", "del", "wan") }, fromNothing[1:]},
		{"address deleted", func() { ip(t, "addr", "flush", "dev", "wan") }, []string{"add address", "add route"}},
		{"route deleted", func() { ip(t, "route", "del", "default", "dev", "wan") }, []string{"add route"}},
		{"group taken away", func() { ip(t, "link", "set", "wan", "group", "default") }, []string{"mark link"}},
		{"alias taken away", func() { ip(t, "link", "set", "wan", "alias", "") }, []string{"mark link"}},
		{"IPv6 switched on", func() { setSysctl(t, "net/ipv6/conf/wan/disable_ipv6", "0") }, []string{"disable ipv6"}},
		{"IPv6 makes addresses", func() { ip(t, "link", "set", "wan", "addrgenmode", "eui64") }, []string{"mark link"}},
		{"answers ARP for others", func() { setSysctl(t, "net/ipv4/conf/wan/arp_ignore", "0") }, []string{"mark link"}},
		{"MTU", func() { ip(t, "link", "set", "wan", "mtu", "1300") }, []string{"set mtu"}},
		{"MTU of the parent", func() { ip(t, "link", "set", "port0", "mtu", "1600") }, []string{"set mtu"}},
		{"mode", func() { ip(t, "link", "set", "wan", "type", "macvlan", "mode", "vepa") }, append([]string{"delete link"}, fromNothing[1:]...)},
		{"another MAC on the link", func() { ip(t, "link", "set", "wan", "address", "02:00:00:00:00:09") }, append([]string{"delete link"}, fromNothing[1:]...)},
		{"parent down", func() { ip(t, "link", "set", "port0", "down") }, []string{"set up parent"}},
		{"another parent configured", func() { d.Link.Parent = "port1" }, []string{"quiet parent", "set up parent", "delete link", "add link", "mark link", "disable ipv6", "set up link", "add address", "add route"}},
		{"another MAC configured", func() { d.Link.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 7} }, append([]string{"delete link"}, fromNothing[1:]...)},
		{"a smaller MTU configured", func() { d.Link.MTU = 1280 }, []string{"set mtu"}},
		{"an MTU above the parent's", func() { d.Link.MTU = 9000 }, []string{"set mtu"}},
	} {
		c.harm()
		got := b.apply(d)
		if !slices.Equal(got.Steps, c.steps) {
			t.Errorf("%s: steps %q, want %q", c.name, got.Steps, c.steps)
		}
		if again := b.apply(d); !again.None() {
			t.Errorf("%s: not stable: %q", c.name, again.Steps)
		}
	}
	o, err := b.Observe(t.Context(), d.Link)
	if err != nil || !o.Matches || o.Parent != "port1" || o.MTU != 1500 {
		t.Errorf("in the end: %+v, %v", o, err)
	}
	if parentOf() != "port1" {
		t.Error("observed with another parent configured:", parentOf())
	}
	if ok, err := b.Purge(t.Context(), d.Link); !ok || err != nil {
		t.Error(ok, err)
	}
}

// TestApplyIsSafeAtEveryStep ends Apply before each of its steps, as the death of
// the process would, and looks at what is left: nothing that is not marked,
// nothing that speaks. Then it goes on as the next process would.
func TestApplyIsSafeAtEveryStep(t *testing.T) {
	b := newBench(t)
	d := lease("198.51.100.7/24")
	for n := range fromNothing {
		setSysctl(t, "net/ipv4/conf/port0/arp_ignore", "0")
		ctx, die := context.WithCancel(t.Context())
		b.steps = nil
		b.Manager.step = func(s string) {
			b.steps = append(b.steps, s)
			if len(b.steps) == n {
				die() // this write still happens, the next one does not
			}
		}
		if n == 0 {
			die()
		}
		c, err := b.Apply(ctx, d)
		if !errors.Is(err, context.Canceled) || !slices.Equal(c.Steps, fromNothing[:n]) {
			t.Fatalf("ended after %d steps: %v, %q", n, err, c.Steps)
		}
		l, err := b.nl.getLink("wan")
		switch {
		case errors.Is(err, ErrNoLink):
			if n > 1 {
				t.Errorf("after %d steps: no link", n)
			}
		case err != nil:
			t.Fatal(err)
		case !l.marked():
			t.Errorf("after %q: the link has no mark", c.Steps)
		case l.up() && !l.ipv6.silent():
			t.Errorf("after %q: the link is up and may speak IPv6", c.Steps)
		}
		b.Manager.step = func(string) {}
		if n%2 == 0 { // the next process is primary ...
			if got := b.apply(d); !slices.Equal(got.Steps, fromNothing[n:]) {
				t.Errorf("after %d steps went on with %q", n, got.Steps)
			}
		}
		if ok, err := b.Purge(t.Context(), wan); err != nil || ok != (n > 1 || n%2 == 0) { // ... or backup
			t.Errorf("after %d steps: purge %v, %v", n, ok, err)
		}
	}
}
