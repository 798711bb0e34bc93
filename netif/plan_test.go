package netif

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// portState is a parent as the documents want it, without a WAN.
func portState() state {
	return state{parent: link{
		index: 2, name: "port0", kind: "veth", hardware: arphrdEther, mac: "\x02\x00\x00\x00\x00\x02", mtu: 1500,
		flags: unix.IFF_UP | unix.IFF_LOWER_UP, arpIgnore: 1, ipv6: ipv6State{present: true, disabled: true},
	}}
}

// upState is what Apply of d has made.
func upState(t *testing.T, d Desired) state {
	t.Helper()
	p := planner{state: portState(), d: d, owner: theOwner}
	if err := p.plan(); err != nil {
		t.Fatal(err)
	}
	return p.state
}

func planned(s state, d Desired) ([]string, state, error) {
	p := planner{state: s, d: d, owner: theOwner}
	err := p.plan()
	var steps []string
	for _, s := range p.steps {
		steps = append(steps, s.String())
	}
	return steps, p.state, err
}

func TestPlan(t *testing.T) {
	gateway := addr("198.51.100.1")
	for name, c := range map[string]struct {
		state   func(*state)
		desired func(*Desired)
		want    string // steps, "; " between
	}{
		"the same again": {},
		"nothing there": {
			state: func(s *state) { *s = portState() },
			want: "add macvlan on port0 with 02:68:71:2e:62:67; mark the link as wanfail's; disable IPv6; set the link up; " +
				"add address 198.51.100.7/24; add route 0.0.0.0/0 via 198.51.100.1",
		},
		"nothing there, on a kernel without IPv6, and the parent is down and answers for the WAN": {
			state: func(s *state) {
				*s = portState()
				s.parent.flags, s.parent.arpIgnore, s.parent.ipv6 = 0, 0, ipv6State{}
			},
			desired: func(d *Desired) { *d = Desired{Link: wan} },
			want: "have parent port0 answer ARP for its own addresses only; set parent port0 up; " +
				"add macvlan on port0 with 02:68:71:2e:62:67; mark the link as wanfail's; set the link up",
		},
		"another MAC": {
			state: func(s *state) { s.link.mac = "\x02\x00\x00\x00\x00\x09" },
			want: "delete macvlan; add macvlan on port0 with 02:68:71:2e:62:67; mark the link as wanfail's; disable IPv6; set the link up; " +
				"add address 198.51.100.7/24; add route 0.0.0.0/0 via 198.51.100.1",
		},
		"another mode":            {state: func(s *state) { s.link.mode = 8 }, desired: func(d *Desired) { *d = Desired{Link: wan} }, want: "delete macvlan; add macvlan on port0 with 02:68:71:2e:62:67; mark the link as wanfail's; disable IPv6; set the link up"},
		"no alias":                {state: func(s *state) { s.link.alias = "" }, want: "mark the link as wanfail's"},
		"IPv6 was switched on":    {state: func(s *state) { s.link.ipv6.disabled = false }, want: "disable IPv6"},
		"another address before":  {desired: func(d *Desired) { d.Former = addr("203.0.113.5") }, want: "end the sessions of 203.0.113.5"},
		"the same address before": {desired: func(d *Desired) { d.Former = addr("198.51.100.7") }},
		"another address before, and none now": {
			desired: func(d *Desired) { *d = Desired{Link: wan, Former: addr("203.0.113.5")} },
			want:    "remove route 0.0.0.0/0 via 198.51.100.1; remove address 198.51.100.7/24",
		},
		"less than IPv6 takes": {desired: func(d *Desired) { d.Link.MTU = 576 }, want: "set MTU 576"},
		"more again": {
			state: func(s *state) { s.link.mtu, s.link.ipv6 = 576, ipv6State{} },
			want:  "mute while IPv6 comes back, to be silenced; set MTU 1500; mark the link as wanfail's; disable IPv6; unmute",
		},
		"more again, on a link that is down": {
			state: func(s *state) { s.link.mtu, s.link.ipv6, s.link.flags = 576, ipv6State{}, 0 },
			want:  "set MTU 1500; mark the link as wanfail's; disable IPv6; set the link up",
		},
		"an infinite lease, on a kernel that keeps no origin": {
			state:   func(s *state) { s.noAddrProto, s.addrs[0].valid, s.addrs[0].proto = true, ifaForever, 0 },
			desired: func(d *Desired) { d.Valid = Forever },
			want:    "set the lifetime of 198.51.100.7/24",
		},
		"an infinite lease, on such a kernel, a week later": {
			state:   func(s *state) { s.noAddrProto, s.addrs[0].valid, s.addrs[0].proto = true, 13*24*3600, 0 },
			desired: func(d *Desired) { d.Valid = Forever },
		},
		"less MTU":              {desired: func(d *Desired) { d.Link.MTU = 1400 }, want: "set MTU 1400"},
		"more than the parent":  {desired: func(d *Desired) { d.Link.MTU = 9000 }},
		"the link is down":      {state: func(s *state) { s.link.flags = 0 }, want: "set the link up"},
		"a lifetime that ends":  {state: func(s *state) { s.addrs[0].valid = 60 }, want: "set the lifetime of 198.51.100.7/24"},
		"by its discipline":     {state: func(s *state) { s.link.qdisc = muteKind }, want: "unmute"},
		"by its carrier":        {state: func(s *state) { s.link.protoDown = true }, want: "unmute"},
		"mute, with no address": {state: func(s *state) { s.link.qdisc, s.addrs, s.routes = muteKind, nil, nil }, want: "add address 198.51.100.7/24; add route 0.0.0.0/0 via 198.51.100.1; unmute"},
		"another address of the prefix": {
			desired: func(d *Desired) { d.Addr = prefix("198.51.100.8/24") },
			want:    "add address 198.51.100.8/24; remove address 198.51.100.7/24",
		},
		"another network": {
			desired: func(d *Desired) { d.Addr, d.Routes[0].Gateway = prefix("203.0.113.9/24"), addr("203.0.113.1") },
			want: "add address 203.0.113.9/24; add route 0.0.0.0/0 via 203.0.113.1; remove route 0.0.0.0/0 via 198.51.100.1; " +
				"remove address 198.51.100.7/24",
		},
		"no lease any more": {
			desired: func(d *Desired) { *d = Desired{Link: wan} },
			want:    "remove route 0.0.0.0/0 via 198.51.100.1; remove address 198.51.100.7/24",
		},
		"default routes first, then those to the link, duplicates once": {
			state: func(s *state) { *s = portState() },
			desired: func(d *Desired) {
				d.Routes = []Route{
					{Dst: prefix("10.1.0.0/16"), Gateway: gateway},
					{Dst: prefix("10.0.0.1/32")},
					{Dst: prefix("0.0.0.0/0"), Gateway: gateway},
					{Dst: prefix("10.0.0.1/32")},
				}
			},
			want: "add macvlan on port0 with 02:68:71:2e:62:67; mark the link as wanfail's; disable IPv6; set the link up; add address 198.51.100.7/24; " +
				"add route 0.0.0.0/0 via 198.51.100.1; add route 10.0.0.1/32; add route 10.1.0.0/16 via 198.51.100.1",
		},
		"a route that the kernel makes for the address": {
			desired: func(d *Desired) { d.Routes = append(d.Routes, Route{Dst: prefix("198.51.100.0/24")}) },
		},
		"a route that the kernel made for an address that goes": {
			desired: func(d *Desired) {
				d.Addr, d.Routes[0].Gateway = prefix("203.0.113.9/24"), addr("203.0.113.1")
				d.Routes = append(d.Routes, Route{Dst: prefix("198.51.100.0/24")})
			},
			want: "add address 203.0.113.9/24; add route 0.0.0.0/0 via 203.0.113.1; add route 198.51.100.0/24; " +
				"remove route 0.0.0.0/0 via 198.51.100.1; remove address 198.51.100.7/24",
		},
		"what others put there stays": {
			state: func(s *state) {
				s.addrs = append(s.addrs, address{prefix: prefix("192.0.2.7/24"), valid: ifaForever})
				s.routes = append(s.routes, kernelRoute(Route{Dst: prefix("10.0.0.0/8"), Gateway: gateway}, s.link.index, unix.RTPROT_STATIC))
			},
		},
	} {
		d := lease("198.51.100.7/24")
		s := upState(t, d)
		if c.state != nil {
			c.state(&s)
		}
		if c.desired != nil {
			c.desired(&d)
		}
		before := s
		steps, after, err := planned(s, d)
		if got := strings.Join(steps, "; "); got != c.want || err != nil {
			t.Errorf("%s: %s (%v)\nwant: %s", name, got, err, c.want)
		}
		if !reflect.DeepEqual(s, before) {
			t.Errorf("%s: the plan changed what was observed", name)
		}
		d.Former = netip.Addr{}
		if again, _, err := planned(after, d); len(again) > 0 || err != nil {
			t.Errorf("%s: then %q (%v)", name, again, err)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	d := lease("198.51.100.7/24")
	for name, c := range map[string]struct {
		state func(*state)
		want  error
	}{
		"no parent":                 {func(s *state) { s.parent = link{} }, ErrNoParent},
		"a parent without Ethernet": {func(s *state) { s.parent.hardware = unix.ARPHRD_PPP }, nil},
		"a foreign link":            {func(s *state) { s.link.group, s.link.alias = 0, "" }, ErrForeign},
		"an alternative name":       {func(s *state) { s.link.name = "other" }, ErrForeign},
		"another kind":              {func(s *state) { s.link.kind = "dummy" }, ErrForeign},
	} {
		s := upState(t, d)
		c.state(&s)
		steps, _, err := planned(s, d)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || len(steps) > 0 {
			t.Errorf("%s: %q, %v", name, steps, err)
		}
	}
	if _, _, err := Plan(Observed{}, Desired{}); err == nil {
		t.Error("a plan for a link without a name")
	}
}

// TestPlanConverges: whatever is there, what a plan leaves needs no other one, the
// address is never there without what makes it silent, and the end of silence is
// last.
func TestPlanConverges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) bool { return random.IntN(n) == 0 }
	prefixes := []netip.Prefix{prefix("198.51.100.7/24"), prefix("198.51.100.8/24"), prefix("203.0.113.9/29"), prefix("10.0.0.1/32")}
	some := func() netip.Prefix { return prefixes[random.IntN(len(prefixes))] }
	for range 5000 {
		d := Desired{Link: wan}
		d.Link.MTU = []int{0, 576, 1400}[random.IntN(3)]
		if !pick(4) {
			d.Addr, d.Valid = some(), time.Duration(random.IntN(3))*time.Hour
			for range random.IntN(4) {
				r := Route{Dst: some().Masked(), Metric: random.IntN(2)}
				if !pick(3) {
					r.Gateway = some().Addr()
				}
				if pick(3) {
					r.Dst = prefix("0.0.0.0/0")
				}
				d.Routes = append(d.Routes, r)
			}
		}
		s := portState()
		if s.noAddrProto = pick(2); !pick(4) {
			s = upState(t, Desired{Link: wan})
			for range random.IntN(3) {
				a := address{prefix: some(), valid: uint32(random.IntN(5000)), proto: Protocol}
				if !slices.ContainsFunc(s.addrs, func(b address) bool { return b.prefix == a.prefix }) {
					s.addrs = append(s.addrs, a)
				}
			}
			if len(s.addrs) > 0 {
				s.routes = append(s.routes, kernelRoute(Route{Dst: some().Masked(), Metric: random.IntN(2)}, s.link.index, Protocol))
			}
			if pick(2) {
				s.link.qdisc = muteKind
			}
			if pick(3) {
				s.link.protoDown = true
			}
			if pick(4) {
				s.link.flags = 0
			}
			if pick(4) {
				s.link.mtu, s.link.ipv6 = 576, ipv6State{}
			}
			if pick(4) {
				s.link.mac = string(net.HardwareAddr{2, 0, 0, 0, 0, 9})
			}
		}
		p := planner{state: s, d: d, owner: theOwner}
		if err := p.plan(); err != nil {
			t.Fatal(err)
		}
		if again, _, err := planned(p.state, d); len(again) > 0 || err != nil {
			t.Fatalf("from %+v to %+v: after %v comes %v (%v)", s, d, p.steps, again, err)
		}
		for i, step := range p.steps {
			if i > 0 && step.Op < p.steps[i-1].Op {
				t.Fatalf("%v after %v", step, p.steps[i-1])
			}
		}
	}
}
