package netif

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// route is an IPv4 route as the kernel reports it. Values of it can be compared
// with ==.
type route struct {
	table   uint32
	dst     netip.Prefix
	gateway netip.Addr
	metric  uint32
	oif     int
	proto   uint8
	kind    uint8 // RTN_*
}

// kernelRoute turns a desired route into what the kernel should report of the
// main table.
func kernelRoute(r Route, index int, proto uint8) route {
	return route{table: unix.RT_TABLE_MAIN, dst: r.Dst, gateway: r.Gateway, metric: uint32(r.Metric), oif: index, proto: proto, kind: unix.RTN_UNICAST}
}

// sameWay reports whether two routes lead the same packets the same way,
// whoever made them.
func (r route) sameWay(s route) bool {
	r.proto = s.proto
	return r == s
}

func (r route) public() Route {
	return Route{Dst: r.dst, Gateway: r.gateway, Metric: int(r.metric)}
}

// listRoutes lists the IPv4 routes of the main table, over the link with the
// given index and with the given protocol, 0 meaning any. The kernel does the
// filtering (Linux 4.20), so a router that holds a full table answers with a
// handful; walking a million routes for them takes it some 70 ms.
func (c *conn) listRoutes(index int, proto uint8) ([]route, error) {
	return c.listTable(unix.RT_TABLE_MAIN, index, proto)
}

// listTable is listRoutes for any table.
func (c *conn) listTable(table uint32, index int, proto uint8) ([]route, error) {
	parts := []nl.NetlinkRequestData{
		&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Protocol: proto}},
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(table)),
	}
	if index != 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	msgs, err := c.dump(unix.RTM_GETROUTE, parts...)
	if gone(err) { // the kernel has no table before its first route
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []route
	for _, msg := range msgs {
		r, ok := parseRoute(msg)
		if ok && r.table == table && (index == 0 || r.oif == index) && (proto == 0 || r.proto == proto) {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// parseRoute reads the payload of an RTM_NEWROUTE or RTM_DELROUTE. It passes
// over other families, tables that hold nothing of ours and cached routes. Routes with several next
// hops have no oif here: none of ours has.
func parseRoute(msg []byte) (route, bool) {
	if len(msg) < unix.SizeofRtMsg {
		return route{}, false
	}
	rt := nl.DeserializeRtMsg(msg)
	r := route{table: uint32(rt.Table), proto: rt.Protocol, kind: rt.Type}
	dst := netip.IPv4Unspecified()
	for typ, val := range attributes(msg[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(val)
		case unix.RTA_GATEWAY:
			r.gateway, _ = netip.AddrFromSlice(val)
		case unix.RTA_OIF:
			r.oif = int(u32(val))
		case unix.RTA_PRIORITY:
			r.metric = u32(val)
		case unix.RTA_TABLE:
			r.table = u32(val)
		}
	}
	r.dst = netip.PrefixFrom(dst, int(rt.Dst_len))
	ok := rt.Family == unix.AF_INET && (r.table == unix.RT_TABLE_MAIN || r.table == BackupTable) && rt.Flags&unix.RTM_F_CLONED == 0
	return r, ok && r.dst.IsValid()
}

// addRoute adds a route. Without NLM_F_REPLACE and NLM_F_EXCL the kernel puts
// it before others of the same destination and metric instead of overwriting
// one of them, which might be a foreign one over another device: replacing keys
// on destination, TOS and metric only (fib_table_insert).
func (m *Manager) addRoute(ctx context.Context, r route, onlink bool, device string) error {
	return m.write(ctx, "add route", fmt.Sprintf("%s dev %s", r.public(), device), unix.RTM_NEWROUTE, unix.NLM_F_CREATE, r.message(onlink)...)
}

func (m *Manager) deleteRoute(ctx context.Context, r route, device string) error {
	err := m.write(ctx, "delete route", fmt.Sprintf("%s dev %s", r.public(), device), unix.RTM_DELROUTE, 0, r.message(false)...)
	if gone(err) {
		return nil
	}
	return err
}

func (r route) message(onlink bool) []nl.NetlinkRequestData {
	rt := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: unix.AF_INET, Dst_len: uint8(r.dst.Bits()),
		Protocol: r.proto, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST,
	}}
	parts := []nl.NetlinkRequestData{
		rt,
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(r.table)),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.oif))),
		nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(r.metric)),
	}
	if r.dst.Bits() > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_DST, r.dst.Addr().AsSlice()))
	}
	if r.gateway.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, r.gateway.AsSlice()))
		if onlink {
			rt.Flags = unix.RTNH_F_ONLINK
		}
	} else {
		rt.Scope = unix.RT_SCOPE_LINK
	}
	return parts
}
