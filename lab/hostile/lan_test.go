package hostile

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/lab"
)

// ignoreExit drops the exit code of a command.
func ignoreExit(err error) error {
	var exit *lab.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// fromLAN are attacks by a client of the routers.
var fromLAN = []row{
	{"looks for open ports", func(w *world) string {
		r := w.l.Router(0)
		open := ""
		for line := range strings.Lines(w.run(r, "ss", "--no-header", "--tcp", "--udp", "--raw", "--listening", "--numeric", "--processes")) {
			if strings.Contains(line, `"wanfail"`) {
				open += line
			}
		}
		w.want(open == "", "wanfail listens:\n%s", open)
		return "wanfail listens on no TCP, UDP or raw IP socket"
	}},
	{"DHCP answers, ARP for the leased address, frames to the shared MAC", func(w *world) string {
		r, c := w.l.Router(0), w.raw(w.l.Client)
		before, _ := w.wan(r)
		m, err := dhcpv4.NewDiscovery(lab.SharedMAC())
		w.must(err)
		for range 100 {
			for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak} {
				c.send(udp(lab.SharedMAC(), evilMAC, netip.AddrPortFrom(before.Addr(), 68), netip.AddrPortFrom(lab.Gateway, 67),
					reply(m, kind, netip.MustParsePrefix(other)).ToBytes()))
			}
			c.send(arp(2, broadcast, evilMAC, before.Addr(), evilMAC, before.Addr()))
		}
		w.hold(500 * time.Millisecond)
		after, _ := w.wan(r)
		w.want(before == after && before.IsValid(), "the address was %v and is %v", before, after)
		return "nothing: DHCP is received on the WAN alone"
	}},
	{"IPv6 router advertisements", func(w *world) string {
		r, c := w.l.Router(0), w.raw(w.l.Client)
		for range 50 {
			c.send(advertisement())
		}
		w.hold(500 * time.Millisecond)
		w.want(w.run(r, "ip", "-6", "address", "show", "dev", "wan") == "", "the WAN has an IPv6 address")
		w.want(w.by(r, lab.InternetAddr) == "wan", "the default route is another")
		return "the WAN is not touched; what the LAN's port does with them is the kernel's configuration"
	}},
	{"VRRP adverts with priority 255 and the master's group, for 2 s", func(w *world) string {
		ar0, ar1, c := w.l.Router(0), w.l.Router(1), w.raw(w.l.Client)
		for range 40 {
			c.send(advert(lab.ClientAddr, 255))
			w.hold(50 * time.Millisecond)
		}
		for _, r := range []*lab.Router{ar0, ar1} {
			addr, _ := w.wan(r)
			w.want(!addr.IsValid(), "%s has the WAN", r.Name)
		}
		w.want(w.priorities() == 0, "%d masters", w.priorities())
		w.eventually("the first router has the WAN again", func() (bool, error) {
			_, ok, err := ar0.HasWAN()
			return ok, err
		})
		return "keepalived believes them on both routers, and wanfail follows: no WAN until they end, then the same as before. " +
			"who can send VRRP decides about the role"
	}},
}
