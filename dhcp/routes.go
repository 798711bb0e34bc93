package dhcp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// optionMSRoutes is Microsoft's copy of option 121 from before there was one.
const optionMSRoutes = dhcpv4.GenericOptionCode(249)

var defaultDst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// routes fills in the effective routes: a client that understands option 121
// must ignore 3 and 33 when it is there (RFC 3442), even without a default route.
func (p *parser) routes(l *Lease) {
	routes, ok := p.classless(dhcpv4.OptionClasslessStaticRoute)
	if !ok {
		routes, ok = p.classless(optionMSRoutes)
	}
	if !ok {
		routes = p.classful()
	}
	for _, r := range routes {
		switch {
		case r.Gateway == l.Addr():
			p.fault(fmt.Sprintf("route to %v through our own address", r.Dst))
		case r.Gateway.IsValid() && l.Prefix.Bits() <= 30 && r.Gateway == lastAddr(l.Prefix):
			p.fault(fmt.Sprintf("route to %v through the broadcast address", r.Dst))
		case !routable(r.Dst):
			p.fault(fmt.Sprintf("route to %v", r.Dst))
		case slices.ContainsFunc(l.Routes, func(o Route) bool { return o.Dst == r.Dst }):
			// The first is the preferred one (RFC 2132 3.5).
		case len(l.Routes) == maxRoutes:
			p.fault("too many routes")
			return
		default:
			l.Routes = append(l.Routes, r)
			if r.Dst.Bits() == 0 {
				l.Gateway = r.Gateway
			}
		}
	}
}

// routable reports whether a packet with a destination in p can be routed at all.
// Only parts of a default route (splits of 0.0.0.0/0) may begin at 0.
func routable(p netip.Prefix) bool {
	first := p.Addr().As4()[0]
	return (first != 0 || p.Bits() < minBits) && first != 127 && first < 240
}

// classless reads option 121 or 249 (RFC 3442). Garbage makes it as good as
// absent: a part of a routing table is worse than the fallback.
func (p *parser) classless(code dhcpv4.OptionCode) ([]Route, bool) {
	v := p.get(code)
	if len(v) == 0 {
		return nil, false
	}
	var routes []Route
	for len(v) > 0 {
		ones := int(v[0])
		n := (ones + 7) / 8 // octets of the destination that are sent
		if ones > 32 || len(v) < 1+n+4 {
			p.fault(fmt.Sprintf("option %d is malformed", code.Code()))
			return nil, false
		}
		var dst [4]byte
		copy(dst[:], v[1:1+n])
		gateway := netip.AddrFrom4([4]byte(v[1+n : 1+n+4]))
		v = v[1+n+4:]
		if gateway.IsUnspecified() {
			gateway = netip.Addr{} // on the link itself (RFC 3442)
		} else if !usable(gateway) {
			p.fault(fmt.Sprintf("option %d has the gateway %v", code.Code(), gateway))
			continue
		}
		// Bits beyond the mask must be ignored.
		routes = append(routes, Route{Dst: netip.PrefixFrom(netip.AddrFrom4(dst), ones).Masked(), Gateway: gateway})
	}
	return routes, true
}

// classful reads option 33, whose destinations have the mask of their class or
// are hosts (RFC 2132 5.8), and option 3.
func (p *parser) classful() []Route {
	var routes []Route
	if v := p.get(dhcpv4.OptionStaticRoutingTable); len(v)%8 != 0 {
		p.fault("option 33 is malformed")
	} else {
		for ; len(v) > 0; v = v[8:] {
			dst, gateway := netip.AddrFrom4([4]byte(v[:4])), netip.AddrFrom4([4]byte(v[4:8]))
			if !usable(dst) || !usable(gateway) {
				p.fault(fmt.Sprintf("option 33 routes %v through %v", dst, gateway))
				continue
			}
			routes = append(routes, Route{Dst: classPrefix(dst), Gateway: gateway})
		}
	}
	for _, gateway := range p.addrs(dhcpv4.OptionRouter) {
		routes = append(routes, Route{Dst: defaultDst, Gateway: gateway})
	}
	return routes
}

// classPrefix is the network of class A, B or C that a names, or the host a.
func classPrefix(a netip.Addr) netip.Prefix {
	ones := 24
	switch first := a.As4()[0]; {
	case first < 128:
		ones = 8
	case first < 192:
		ones = 16
	}
	if p := netip.PrefixFrom(a, ones); p.Masked().Addr() == a {
		return p
	}
	return netip.PrefixFrom(a, 32)
}
