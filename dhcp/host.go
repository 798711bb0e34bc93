package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Host is what this router has besides the WAN. A server decides about the WAN
// and the default route, and about nothing that is in here.
type Host struct {
	ParentMTU int          // upper limit of Lease.MTU; 0: 1500
	Networks  []Network    // those of other interfaces, and what an administrator routes
	Addresses []netip.Addr // the router's own, but for the WAN's
}

// Network is one that a lease must leave alone.
type Network struct {
	Prefix netip.Prefix
	Name   string // for messages: "network of br-lan", "route over eth3"
}

// String names the network in messages.
func (n Network) String() string { return fmt.Sprintf("%v (%s)", n.Prefix, n.Name) }

// maxOmitted bounds the list of what was left out of a lease.
const maxOmitted = 16

// refusal says why a lease cannot be used, and what to report until there is
// one that can.
type refusal struct {
	finding Diagnosis
	reason  string
}

// Error implements error.
func (r *refusal) Error() string { return r.reason }

// finding is what to report of an answer that could not be used.
func finding(err error) Diagnosis {
	var r *refusal
	if errors.As(err, &r) {
		return r.finding
	}
	return Unusable
}

// review checks a lease against the configuration and the rest of the router. It
// returns the lease, or a copy without the routes and name servers that cannot
// be used: those are listed in Omitted. The error is a *refusal.
func (c *Config) review(l *Lease, h *Host) (*Lease, error) {
	if c.Expect.IsValid() && !c.Expect.Contains(l.Addr()) {
		return nil, &refusal{UnexpectedAddress, fmt.Sprintf("address %v is outside of the expected %v", l.Addr(), c.Expect)}
	}
	if err := h.conflict(l.Prefix); err != nil {
		return nil, err
	}
	kept := *l
	kept.Routes, kept.DNS, kept.Gateway = nil, nil, netip.Addr{}
	kept.MTU = min(l.MTU, h.parentMTU())
	var omitted []string
	var parts []Route
	for _, r := range l.Routes {
		why := h.objection(r)
		switch {
		case why != "":
		case r.Dst.Bits() == 0:
			kept.Gateway = r.Gateway
		case r.Dst.Bits() < minBits:
			parts = append(parts, r)
			why = "it is a part of the default route"
		}
		if why != "" {
			omitted = append(omitted, fmt.Sprintf("route to %v: %s", r.Dst, why))
			continue
		}
		kept.Routes = append(kept.Routes, r)
	}
	// Parts would win over other default routes whatever the metric, and over
	// `option defaultroute 0`.
	if whole(parts) && !slices.ContainsFunc(kept.Routes, func(r Route) bool { return r.Dst.Bits() == 0 }) {
		kept.Gateway = parts[0].Gateway
		kept.Routes = append(kept.Routes, Route{Dst: defaultDst, Gateway: kept.Gateway})
	}
	for _, a := range l.DNS {
		if a == l.Addr() || slices.Contains(h.Addresses, a) {
			omitted = append(omitted, fmt.Sprintf("name server %v: it is this router itself", a))
			continue
		}
		kept.DNS = append(kept.DNS, a)
	}
	if len(omitted) == 0 && kept.MTU == l.MTU {
		return l, nil
	}
	kept.Omitted = shorten(append(slices.Clone(l.Omitted), omitted...))
	return &kept, nil
}

// conflict reports whether a lease of this prefix would be in another network. A
// prefix that merely surrounds another network is none: the longer one wins in
// the kernel. Networks of less than eight bits are parts of a default route, as a
// VPN sets them, and surround everything.
func (h *Host) conflict(lease netip.Prefix) error {
	a := lease.Addr()
	for _, n := range h.Networks {
		if n.Prefix.Bits() >= minBits && n.Prefix.Contains(a) {
			return &refusal{Conflict, fmt.Sprintf("address %v is in %v", lease, n)}
		}
	}
	if slices.Contains(h.Addresses, a) {
		return &refusal{Conflict, fmt.Sprintf("address %v is this router's already", a)}
	}
	return nil
}

// objection says why a route cannot be used; "" if it can. Default routes and
// their parts are the server's to give.
func (h *Host) objection(r Route) string {
	switch {
	case r.Gateway.IsValid() && slices.Contains(h.Addresses, r.Gateway):
		return fmt.Sprintf("gateway %v is this router itself", r.Gateway)
	case r.Dst.Addr().IsMulticast():
		return "multicast"
	case r.Dst.Bits() < minBits:
		return ""
	}
	for _, n := range h.Networks {
		if n.Prefix.Bits() > 0 && n.Prefix.Bits() <= r.Dst.Bits() && n.Prefix.Contains(r.Dst.Addr()) {
			return fmt.Sprintf("it is in %v", n)
		}
	}
	return ""
}

// whole reports whether routes shorter than minBits together lead to every host.
func whole(parts []Route) bool {
	for first := range 224 {
		network := netip.AddrFrom4([4]byte{byte(first)})
		if first != 0 && first != 127 && !slices.ContainsFunc(parts, func(r Route) bool { return r.Dst.Contains(network) }) {
			return false
		}
	}
	return true
}

// shorten keeps a list of messages at its bound.
func shorten(all []string) []string {
	if n := len(all) - maxOmitted; n > 0 {
		all = append(all[:maxOmitted-1:maxOmitted-1], fmt.Sprintf("and %d more", n+1))
	}
	return all
}

func (h *Host) parentMTU() int {
	if h.ParentMTU == 0 {
		return defaultMTU
	}
	return max(h.ParentMTU, minMTU)
}
