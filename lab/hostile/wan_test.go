package hostile

import (
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/lab"
)

const (
	honest = "203.0.114.70/24"
	other  = "203.0.114.66/24"
)

// fromWAN are attacks by a neighbour on the ISP's segment, or by the ISP itself,
// on one router.
var fromWAN = []row{
	{"a lease inside the network of the LAN, or of the link between the routers", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		for _, addr := range []string{"192.168.77.50/24", "10.77.0.50/24"} {
			s.gives(addr)
			w.promote(r)
			got, routes := w.wan(r)
			w.want(!got.IsValid() && routes == "", "the WAN has %v and the routes %q", got, routes)
			w.conflict(r, addr)
			w.lanAsBefore(r)
			w.demote(r, true)
		}
		return "refused, `status` says `conflict` and names the network; no address, no route; wanfail goes on asking"
	}},
	{"routes (option 121) to halves of the LAN's network, to the peer, to the link between the routers, to multicast and loopback", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest, classless("0.0.0.0/0", "192.168.77.0/25", "192.168.77.128/25", "192.168.77.3/32", "10.77.0.3/32", "224.0.0.0/4", "127.0.0.0/8"))
		w.promote(r)
		addr, routes := w.wan(r)
		w.want(addr.String() == honest, "address %v", addr)
		for _, bad := range []string{"192.168.77.", "10.77.0.", "224.", "127."} {
			w.want(!strings.Contains(routes, bad), "routes:\n%s", routes)
		}
		w.want(w.by(r, lab.InternetAddr) == "wan", "no default route:\n%s", routes)
		w.lanAsBefore(r)
		w.demote(r, true)
		return "the lease is used, its default route too; all other routes are left out"
	}},
	{"the default route in halves (0.0.0.0/1, 128.0.0.0/1)", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest, classless("0.0.0.0/1", "128.0.0.0/1"))
		w.promote(r)
		_, routes := w.wan(r)
		w.want(!strings.Contains(routes, "/1 ") && strings.Contains(routes, "default via "+lab.Gateway.String()), "routes:\n%s", routes)
		w.demote(r, true)
		return "one default route, with the metric and under the conditions of `option defaultroute`"
	}},
	{"a gateway that is the broadcast address, our own address or our address on the LAN", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		for _, gw := range []string{"203.0.114.255", "203.0.114.70", w.l.Router(0).Address().String()} {
			s.gives(honest, dhcpv4.WithRouter(netip.MustParseAddr(gw).AsSlice()))
			w.promote(r)
			addr, routes := w.wan(r)
			w.want(addr.String() == honest && !strings.Contains(routes, "default via "+gw), "with %s: address %v, routes:\n%s", gw, addr, routes)
			w.demote(r, true)
		}
		return "the route is left out, the address is used"
	}},
	{"name servers that are this router; names with shell and control characters in options 12, 15, 17, 67 and 119", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest,
			dhcpv4.WithDNS(netip.MustParseAddr(honest[:12]).AsSlice(), r.Address().AsSlice(), []byte{127, 0, 0, 1}, []byte{198, 51, 100, 53}),
			option(12, []byte("$(reboot)")...), option(15, []byte("x\nnameserver 6.6.6.6")...), option(17, []byte("`id`")...),
			option(67, []byte("; rm -rf /")...), option(119, append([]byte("\x09$(reboot)\x03com\x00"), []byte("\x04a b;\x00")...)...))
		w.promote(r)
		text := w.resolvers(r)
		w.want(strings.Contains(text, "198.51.100.53"), "name servers:\n%s", text)
		for _, bad := range []string{"reboot", "6.6.6.6", "127.0.0.1", "203.0.114.70", r.Address().String(), ";", "`"} {
			w.want(!strings.Contains(text, bad), "%q reaches the resolver:\n%s", bad, text)
		}
		w.demote(r, true)
		return "dropped; the server that is left is used"
	}},
	{"a lease of 1 s, T1 beyond the lease, MTU 68", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest, dhcpv4.WithLeaseTime(1), option(58, 0xff, 0xff, 0xff, 0xfe), option(26, 0, 68))
		before := s.requests.Load()
		w.bounded(r, 0.25, func() {
			w.promote(r)
			w.hold(3 * time.Second)
		})
		n := s.requests.Load() - before
		w.want(n <= 30, "%d packets in 3 s", n)
		link, err := r.Link("wan")
		w.must(err)
		w.want(link == nil || link.Attrs().MTU >= 576, "MTU of the link")
		w.demote(r, true)
		return "used as long as it is renewed, at most a few packets a second; MTU at least 576"
	}},
	{"a forged ACK for another address when the remembered lease is confirmed (INIT-REBOOT), before the true one", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		for _, server := range []string{"203.0.114.66", lab.Gateway.String()} {
			s.gives(honest)
			w.promote(r)
			w.demote(r, false)
			s.does(func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
				if m.MessageType() == dhcpv4.MessageTypeDiscover {
					return []*dhcpv4.DHCPv4{reply(m, dhcpv4.MessageTypeOffer, netip.MustParsePrefix(honest))}
				}
				genuine := reply(m, dhcpv4.MessageTypeAck, netip.MustParsePrefix(honest))
				if m.ServerIdentifier() != nil { // of SELECTING
					return []*dhcpv4.DHCPv4{genuine}
				}
				return []*dhcpv4.DHCPv4{
					reply(m, dhcpv4.MessageTypeAck, netip.MustParsePrefix(other), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(netip.MustParseAddr(server).AsSlice()))),
					genuine,
				}
			})
			w.promote(r)
			w.hold(time.Second)
			addr, _ := w.wan(r)
			w.want(addr.String() == honest, "with the identifier of %s, the address is %v", server, addr)
			w.demote(r, true)
		}
		return "under another server's identifier: dropped; under the identifier of the lease's server: as a NAK, the lease is asked for anew"
	}},
	{"ACKs, NAKs and FORCERENEW that were not asked for, to a router that has a lease; with the true transaction ID of the last exchange", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest)
		w.promote(r)
		s.mu.Lock()
		last := s.last
		s.mu.Unlock()
		w.bounded(r, 0.25, func() {
			for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak, 9, dhcpv4.MessageTypeOffer} {
				m := reply(last, kind, netip.MustParsePrefix(other))
				for range 100 {
					s.send(s.frame(m))
				}
			}
			w.hold(500 * time.Millisecond)
		})
		addr, _ := w.wan(r)
		w.want(addr.String() == honest, "the address is %v", addr)
		w.demote(r, true)
		return "nothing: no DHCP socket is open between exchanges, and FORCERENEW is not implemented"
	}},
	{"100 000 answers with wrong transaction IDs while the router asks for a lease", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.does(nil)
		m, err := dhcpv4.NewDiscovery(lab.SharedMAC())
		w.must(err)
		frame := s.frame(reply(m, dhcpv4.MessageTypeOffer, netip.MustParsePrefix(other)))
		w.bounded(r, 1, func() {
			_, _ = r.Run(w.ctx, "wanfail", "primary", "--wait", "100ms")
			for i := range 100_000 {
				frame[46] = byte(i) // the first byte of the transaction ID
				s.send(frame)
			}
		})
		addr, _ := w.wan(r)
		w.want(!addr.IsValid(), "the address is %v", addr)
		s.gives(honest)
		w.eventually("lease", func() (bool, error) {
			addr, _ = w.wan(r)
			return addr.String() == honest, nil
		})
		w.demote(r, true)
		return "dropped and counted, at most one CPU busy, memory below 32 MB; the true answer is taken"
	}},
	{"300 000 frames to a router that has a lease: DHCP, ARP, ICMP, garbage", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest)
		w.promote(r)
		m, err := dhcpv4.NewDiscovery(lab.SharedMAC())
		w.must(err)
		addr := netip.MustParsePrefix(honest).Addr()
		frames := [][]byte{
			s.frame(reply(m, dhcpv4.MessageTypeAck, netip.MustParsePrefix(other))),
			arp(1, broadcast, evilMAC, netip.MustParseAddr("203.0.114.66"), broadcast, addr),
			ipv4(lab.SharedMAC(), evilMAC, addr, lab.Gateway, 64, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}),
			ethernet(lab.SharedMAC(), evilMAC, 0x88b5, make([]byte, 1400)),
		}
		w.bounded(r, 0.25, func() {
			for i := range 300_000 {
				s.send(frames[i%len(frames)])
			}
		})
		got, _ := w.wan(r)
		w.want(got.Addr() == addr, "the address is %v", got)
		w.demote(r, true)
		return "the keeper uses less than a quarter of a CPU and 32 MB; the lease stays"
	}},
	{"ARP: somebody announces our address, and somebody announces the gateway's", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest)
		w.promote(r)
		addr := netip.MustParsePrefix(honest).Addr()
		for range 50 {
			s.send(arp(2, broadcast, evilMAC, addr, evilMAC, addr))
			s.send(arp(2, broadcast, evilMAC, lab.Gateway, evilMAC, lab.Gateway))
		}
		w.hold(time.Second)
		got, routes := w.wan(r)
		w.want(got.Addr() == addr && strings.Contains(routes, "default via "+lab.Gateway.String()), "address %v, routes:\n%s", got, routes)
		w.want(w.report(r).Role.String() == "primary", "the role changes")
		w.demote(r, true)
		return "address, route and role stay; the kernel believes who claims to be the gateway, as on any host"
	}},
	{"IPv6: router advertisements with a default route, a prefix and a name server", func(w *world) string {
		r, s := w.l.Router(0), w.server()
		s.gives(honest)
		sent, err := r.RecordSent()
		w.must(err)
		defer sent.Close()
		seen, err := w.l.Capture(r.WAN(), nil)
		w.must(err)
		defer seen.Close()
		w.promote(r)
		for range 50 {
			s.send(advertisement())
		}
		w.hold(2 * time.Second)
		w.want(w.run(r, "ip", "-6", "address", "show", "dev", "wan") == "", "the WAN has an IPv6 address")
		w.want(!strings.Contains(w.run(r, "ip", "-6", "route", "show", "table", "all"), "dev wan"), "the WAN has an IPv6 route")
		for _, f := range seen.Frames(func(f lab.Frame) bool { return f.FromMachine && f.Src().String() == lab.SharedMAC().String() }) {
			w.want(f.Data[12] != 0x86 || f.Data[13] != 0xdd, "the router sends %v", f)
		}
		w.demote(r, true)
		return "no IPv6 address, no route, not one IPv6 packet: IPv6 is off on the WAN"
	}},
	{"everything above, to a backup", func(w *world) string {
		r, s := w.l.Router(1), w.server()
		w.run(r, "wanfail", "backup")
		sent, err := r.RecordSent()
		w.must(err)
		defer sent.Close()
		m, err := dhcpv4.NewDiscovery(lab.SharedMAC())
		w.must(err)
		addr := netip.MustParsePrefix(honest).Addr()
		for range 50 {
			for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak, 9} {
				s.send(s.frame(reply(m, kind, netip.MustParsePrefix(honest))))
			}
			s.send(arp(1, broadcast, evilMAC, lab.Gateway, broadcast, addr))
			s.send(ipv4(lab.SharedMAC(), evilMAC, addr, lab.Gateway, 64, 1, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}))
			s.send(advertisement())
		}
		w.hold(time.Second)
		n, first, _ := sent.Frames()
		w.want(n == 0, "%d frames with the shared MAC, the first: %v", n, first)
		w.want(w.report(r).Role.String() == "backup", "the role changes")
		return "not one frame with the shared MAC"
	}},
}

// server is the rogue one, which there is once in a lab.
func (w *world) server() *rogue {
	w.Helper()
	if w.evil == nil {
		w.evil = w.rogue()
	}
	return w.evil
}

// hold is how long an effect is given to show that must not show.
func (w *world) hold(d time.Duration) {
	w.Helper()
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
		w.Fatal("the test's time is over")
	}
}

// conflict waits until status tells of the refused address.
func (w *world) conflict(r *lab.Router, addr string) {
	w.Helper()
	var out string
	err := lab.Eventually(w.ctx, "diagnosis", func() (bool, error) {
		var err error
		out, err = r.Run(w.ctx, "wanfail", "status", "--json")
		return strings.Contains(out, `"diagnosis": "conflict"`) && strings.Contains(out, addr), ignoreExit(err)
	})
	if err != nil {
		w.Fatalf("%v: %s", err, out)
	}
}

// resolvers is what the platform's resolver was told.
func (w *world) resolvers(r *lab.Router) (text string) {
	w.Helper()
	w.eventually("name servers", func() (bool, error) {
		file, _ := r.ReadFile("/run/wanfail/resolv.conf")
		resolved, _ := r.Run(w.ctx, "resolvectl", "--no-pager", "status", "wan")
		text = file + resolved
		return strings.Contains(text, "198.51.100.53"), nil
	})
	return text
}

// elected are two routers with real keepalived, the first of them MASTER.
func elected(w *world) { w.must(w.l.Elect(w.ctx)) }

// fromWANPair are attacks on both routers, with real keepalived.
var fromWANPair = []row{
	{"a lease that is the peer's address on the LAN, to the master", func(w *world) string {
		ar0, ar1, s := w.l.Router(0), w.l.Router(1), w.server()
		before := w.priorities()
		s.gives(ar1.Address().String() + "/24")
		// Its lease ends, and the next one is asked for by DISCOVER.
		w.run(ar0, "rm", "-f", "/run/wanfail/wan.lease")
		w.run(ar0, "systemctl", "kill", "--signal=KILL", "wanfail")
		w.run(ar0, "ip", "link", "delete", "wan")
		w.conflict(ar0, ar1.Address().String())
		w.hold(2 * time.Second) // twenty adverts
		addr, _ := w.wan(ar0)
		w.want(!addr.IsValid(), "the WAN has %v", addr)
		w.oneMaster(0)
		w.want(before == 1, "%d masters before", before)
		return "refused (`conflict`); still one MASTER: the peer's adverts are received"
	}},
}

// priorities counts the routers that hold the virtual address.
func (w *world) priorities() (masters int) {
	w.Helper()
	for i := range 2 {
		holds, err := w.l.Router(i).HoldsVIP()
		w.must(err)
		if holds {
			masters++
		}
	}
	return masters
}

func (w *world) oneMaster(which int) {
	w.Helper()
	for i := range 2 {
		holds, err := w.l.Router(i).HoldsVIP()
		w.must(err)
		w.want(holds == (i == which), "%s holds the virtual address: %v", w.l.Router(i).Name, holds)
	}
}
