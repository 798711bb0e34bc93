package hostile

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

var (
	evilMAC   = net.HardwareAddr{0x02, 0x66, 0x66, 0x66, 0x66, 0x66}
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

const protoVRRP = 112

// raw is a packet socket on the first port of a machine.
type raw struct {
	*packet.Conn
	w *world
}

func (w *world) raw(n *lab.Node) *raw {
	w.Helper()
	var c *packet.Conn
	w.must(n.Net(func() error {
		port, err := net.InterfaceByName("eth0")
		if err == nil {
			c, err = packet.Listen(port, packet.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	}))
	w.Cleanup(func() { _ = c.Close() })
	return &raw{c, w}
}

// send sends a frame; one that is lost in a full queue is lost.
func (r *raw) send(frame []byte) {
	_, _ = r.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
}

func ethernet(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst...), src...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// checksum is RFC 1071's, over parts of even length but the last.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
		if len(p)%2 == 1 {
			sum += uint32(p[len(p)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func ipv4(dst, src net.HardwareAddr, to, from netip.Addr, ttl, protocol byte, payload []byte) []byte {
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, ttl, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	copy(h[12:], from.AsSlice())
	copy(h[16:], to.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return ethernet(dst, src, unix.ETH_P_IP, append(h, payload...))
}

// udp is without a checksum, which is optional.
func udp(dst, src net.HardwareAddr, to, from netip.AddrPort, payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, from.Port())
	u = binary.BigEndian.AppendUint16(u, to.Port())
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(payload)))
	u = append(u, 0, 0)
	return ipv4(dst, src, to.Addr(), from.Addr(), 64, unix.IPPROTO_UDP, append(u, payload...))
}

func arp(op byte, dst, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, op}
	p = append(append(p, senderMAC...), sender.AsSlice()...)
	p = append(append(p, targetMAC...), target.AsSlice()...)
	return ethernet(dst, senderMAC, unix.ETH_P_ARP, p)
}

// advert is a VRRPv3 advertisement (RFC 5798) of the lab's instance.
func advert(from netip.Addr, priority byte) []byte {
	group := netip.AddrFrom4([4]byte{224, 0, 0, 18})
	p := append([]byte{0x31, 77, priority, 1, 0, 10, 0, 0}, lab.VIP.Addr().AsSlice()...)
	pseudo := append(append(from.AsSlice(), group.AsSlice()...), 0, protoVRRP, 0, byte(len(p)))
	binary.BigEndian.PutUint16(p[6:], checksum(pseudo, p))
	return ipv4(net.HardwareAddr{1, 0, 0x5e, 0, 0, 18}, evilMAC, group, from, 255, protoVRRP, p)
}

// ipv6 is an ICMPv6 packet of a router to all nodes.
func icmpv6(dst net.HardwareAddr, to, from netip.Addr, message []byte) []byte {
	h := []byte{0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, 255}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	message = append([]byte{}, message...)
	binary.BigEndian.PutUint16(message[2:], checksum(pseudo, message))
	return ethernet(dst, evilMAC, unix.ETH_P_IPV6, append(h, message...))
}

var (
	linkLocal  = netip.MustParseAddr("fe80::66:66ff:fe66:6666")
	v6AllNodes = netip.MustParseAddr("ff02::1")
)

// advertisement is a router advertisement (RFC 4861) with a default route, a
// prefix for addresses and a name server.
func advertisement() []byte {
	m := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	prefix := netip.MustParseAddr("2001:db8:66::").AsSlice()
	m = append(append(m, 3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0), prefix...)
	m = append(append(m, 25, 3, 0, 0, 0, 0, 0x0e, 0x10), netip.MustParseAddr("2001:db8:66::53").AsSlice()...)
	return icmpv6(allNodes, v6AllNodes, linkLocal, m)
}
