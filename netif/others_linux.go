package netif

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Network is one that this router does not reach over a WAN.
type Network struct {
	Prefix netip.Prefix
	Name   string // for messages: "network of br-lan", "route over eth3"
}

// Others is what this router has besides a WAN.
type Others struct {
	ParentMTU int          // of the WAN's parent; 0: there is none
	Networks  []Network    // of other interfaces, and what an administrator or a routing daemon routes over them
	Addresses []netip.Addr // on all interfaces but the WAN
}

// maxOtherRoutes bounds how much of the main table Others reads. Whoever has more
// routes than that runs a routing daemon with the internet's in it.
const maxOtherRoutes = 10_000

// Others lists the IPv4 networks that belong neither to a link made by wanfail nor
// to the parent of want, which is on the same wire. Default routes are not among
// them, and those that reject packets (blackhole and so on) are: an administrator
// set them on purpose.
func (m *Manager) Others(_ context.Context, want Link) (Others, error) {
	if err := want.validate(); err != nil {
		return Others{}, err
	}
	list, err := m.nl.listLinks("")
	if err != nil {
		return Others{}, err
	}
	var o Others
	links := make(map[int]*link, len(list))
	for i := range list {
		links[list[i].index] = &list[i]
		if list[i].named(want.Parent) {
			o.ParentMTU = list[i].mtu
		}
	}
	// An interface in a VRF is looked up in tables of its own.
	apart := func(index int) bool {
		l := links[index]
		if l == nil {
			return false
		}
		master := links[l.master]
		return l.marked() || l.name == want.Name || l.named(want.Parent) || master != nil && master.kind == "vrf"
	}
	name := func(index int) string {
		if l := links[index]; l != nil {
			return l.name
		}
		return fmt.Sprintf("interface %d", index)
	}
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix, name string) {
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			o.Networks = append(o.Networks, Network{p, name})
		}
	}
	msgs, err := m.nl.dump(unix.RTM_GETADDR, &nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: unix.AF_INET}})
	if err != nil {
		return Others{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, msg := range msgs {
		index, a, ok := parseAddr(msg)
		if l := links[index]; !ok || l != nil && l.name == want.Name {
			continue
		}
		o.Addresses = append(o.Addresses, a.prefix.Addr())
		if !apart(index) {
			add(a.prefix, "network of "+name(index))
		}
	}
	err = walkRoutes(func(r route) {
		switch {
		case r.dst.Bits() == 0, r.proto == Protocol, r.proto == BackupProtocol, r.oif != 0 && apart(r.oif):
		case r.kind == unix.RTN_UNICAST && r.proto == unix.RTPROT_KERNEL:
			add(r.dst, "network of "+name(r.oif))
		case r.kind == unix.RTN_UNICAST && r.oif != 0:
			add(r.dst, "route over "+name(r.oif))
		case r.kind == unix.RTN_UNICAST:
			add(r.dst, "route over several interfaces")
		case r.kind == unix.RTN_BLACKHOLE, r.kind == unix.RTN_UNREACHABLE, r.kind == unix.RTN_PROHIBIT:
			add(r.dst, "route that rejects packets")
		}
	})
	if err != nil {
		return Others{}, err
	}
	return o, nil
}

// walkRoutes visits the first maxOtherRoutes IPv4 routes of the main table. It
// has a socket of its own, which it can leave in the middle of a large table.
func walkRoutes(visit func(route)) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN}})
	req.Seq = 1
	if err := c.send(req); err != nil {
		return err
	}
	visited := 0
	a := answer{seq: req.Seq, visit: func(msg []byte) {
		visited++
		if r, ok := parseRoute(msg); ok {
			visit(r)
		}
	}}
	for !a.complete && visited < maxOtherRoutes {
		part, err := c.receive()
		if err != nil {
			return err
		}
		switch err := a.add(part); {
		case gone(err): // the kernel has no main table before its first route
			return nil
		case err != nil:
			return fmt.Errorf("list routes: %w", err)
		}
	}
	return nil
}
