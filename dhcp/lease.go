package dhcp

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Infinite is the TTL of a lease that never ends (RFC 2131 3.3).
const Infinite = time.Duration(math.MaxInt64)

// Route is one route that the server wants the client to have.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway"` // the zero Addr: Dst is on the link itself
}

// Lease is what a server granted. It is immutable once an Update has carried it.
// Every value has been validated; none needs quoting or escaping.
type Lease struct {
	Prefix    netip.Prefix `json:"prefix"`    // the address with the length of its mask
	Broadcast netip.Addr   `json:"broadcast"` // zero for a /31 or /32
	Server    netip.Addr   `json:"server"`    // option 54: where RENEW and RELEASE go

	// Routes are the effective ones: option 121, else 249, else 33 and 3.
	// A default route has Dst 0.0.0.0/0. See OnLink for their gateways.
	Routes  []Route    `json:"routes,omitempty"`
	Gateway netip.Addr `json:"gateway"` // of the default route; zero if there is none

	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Search   []string     `json:"search,omitempty"`
	Hostname string       `json:"hostname,omitempty"` // option 12: what the server calls us
	MTU      int          `json:"mtu,omitempty"`      // 576 to that of the parent; 0: not given

	// Omitted are the routes and name servers of the answer that are not used, since
	// they concern other networks of this router, and why.
	Omitted []string `json:"omitted,omitempty"`

	// Extra are the options of Config.Request that the server sent, as they came.
	// Unlike all other fields they are raw bytes.
	Extra []Option `json:"extra,omitempty"`

	// Acquired is the boot time at which the REQUEST for this lease was sent;
	// T1, T2 and TTL count from there and T1 < T2 < TTL holds. An infinite lease
	// has Infinite in all three.
	Acquired time.Duration `json:"acquired"`
	T1       time.Duration `json:"t1"`
	T2       time.Duration `json:"t2"`
	TTL      time.Duration `json:"ttl"`
}

// Addr is the leased address.
func (l *Lease) Addr() netip.Addr { return l.Prefix.Addr() }

// Infinite reports whether the lease never ends.
func (l *Lease) Infinite() bool { return l.TTL == Infinite }

// Remaining is how long the lease is still valid, by CLOCK_BOOTTIME; zero or
// less once it has expired, Infinite if it never does.
func (l *Lease) Remaining() time.Duration { return l.RemainingAt(BootTime()) }

// RemainingAt is Remaining at the boot time now.
func (l *Lease) RemainingAt(now time.Duration) time.Duration {
	if l.Infinite() {
		return Infinite
	}
	return l.Acquired + l.TTL - now
}

// OnLink reports whether gateway can only be reached as a neighbour that no
// prefix of the interface covers, so that a route through it needs the kernel's
// onlink flag (RTNH_F_ONLINK). That is usual with /32 leases.
func (l *Lease) OnLink(gateway netip.Addr) bool {
	return gateway.IsValid() && !l.Prefix.Contains(gateway)
}

// The changes of a lease by their names in the log and in user scripts.
const (
	LeaseBound   = "bound"   // there is one
	LeaseChanged = "changed" // there is another one: more than its times differ
	LeaseLost    = "lost"    // there is none any more, or it may not be used
)

// Event is what has become of a lease, old, when now is in its place; nil is no
// lease. A renewal that brings nothing but time is "".
func Event(old, now *Lease) string {
	switch {
	case old == nil && now == nil, old != nil && now != nil && old.timeless() == now.timeless():
		return ""
	case old == nil:
		return LeaseBound
	case now == nil:
		return LeaseLost
	default:
		return LeaseChanged
	}
}

// timeless is everything but the times, in a form that is the same before and
// after a lease file.
func (l Lease) timeless() string {
	l.Acquired, l.T1, l.T2, l.TTL, l.Omitted = 0, 0, 0, 0, nil
	raw, err := json.Marshal(l)
	if err != nil {
		panic("dhcp: encode lease: " + err.Error()) // no field can fail
	}
	return string(raw)
}

// deadline is the boot time at which the span d of the lease ends; never is
// false for an infinite lease.
func (l *Lease) deadline(d time.Duration) (at time.Duration, ok bool) {
	if l.Infinite() || d == Infinite {
		return 0, false
	}
	return l.Acquired + d, true
}

// maxTTL is the longest finite lease that 32 bits of seconds can express.
const maxTTL = (1<<32 - 2) * time.Second

// validate checks what every Lease promises. The parser establishes it for
// packets; a lease file has to prove it.
func (l *Lease) validate() error {
	if err := checkPrefix(l.Prefix); err != nil {
		return err
	}
	if !usable(l.Server) {
		return fmt.Errorf("server %v is not a unicast address", l.Server)
	}
	if l.Broadcast.IsValid() && !l.Broadcast.Is4() {
		return fmt.Errorf("broadcast address %v is not IPv4", l.Broadcast)
	}
	var gateway netip.Addr
	if len(l.Routes) > maxRoutes {
		return fmt.Errorf("%d routes are too many", len(l.Routes))
	}
	for i, r := range l.Routes {
		if slices.ContainsFunc(l.Routes[:i], func(o Route) bool { return o.Dst == r.Dst }) {
			return fmt.Errorf("two routes to %v", r.Dst)
		}
		if !r.Dst.IsValid() || !r.Dst.Addr().Is4() || r.Dst != r.Dst.Masked() || !routable(r.Dst) {
			return fmt.Errorf("route destination %v is invalid", r.Dst)
		}
		if r.Gateway.IsValid() && (!usable(r.Gateway) || r.Gateway == l.Addr()) {
			return fmt.Errorf("route gateway %v is invalid", r.Gateway)
		}
		if r.Dst.Bits() == 0 {
			gateway = r.Gateway
		}
	}
	if gateway != l.Gateway {
		return fmt.Errorf("gateway %v is not that of the default route, %v", l.Gateway, gateway)
	}
	if len(l.DNS) > maxDNS || len(l.Search) > maxSearch {
		return fmt.Errorf("%d name servers and %d search domains are too many", len(l.DNS), len(l.Search))
	}
	for _, a := range l.DNS {
		if !usable(a) {
			return fmt.Errorf("name server %v is not a unicast address", a)
		}
	}
	for _, name := range []string{l.Domain, l.Hostname} {
		if name != "" && !validName(name) {
			return fmt.Errorf("%q is not a domain name", name)
		}
	}
	for _, name := range l.Search {
		if !validName(name) {
			return fmt.Errorf("%q in the search list is not a domain name", name)
		}
	}
	if len(l.Omitted) > maxOmitted {
		return fmt.Errorf("%d omissions are too many", len(l.Omitted))
	}
	if l.MTU != 0 && (l.MTU < minMTU || l.MTU > math.MaxUint16) {
		return fmt.Errorf("MTU %d is out of range", l.MTU)
	}
	return l.validateTimes()
}

func (l *Lease) validateTimes() error {
	if l.Acquired < 0 {
		return fmt.Errorf("acquired %v before boot", -l.Acquired)
	}
	if l.Infinite() {
		if l.T1 != Infinite || l.T2 != Infinite {
			return fmt.Errorf("an infinite lease with T1 %v and T2 %v", l.T1, l.T2)
		}
		return nil
	}
	if l.TTL > maxTTL || l.Acquired > math.MaxInt64-maxTTL {
		return fmt.Errorf("lease time %v is out of range", l.TTL)
	}
	if l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.TTL {
		return fmt.Errorf("not 0 < T1 %v < T2 %v < lease time %v", l.T1, l.T2, l.TTL)
	}
	return nil
}
