package netif

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Ethernet and ARP numbers (RFC 826).
const (
	etherTypeARP  = 0x0806
	etherTypeIPv4 = 0x0800
	arpRequest    = 1
	arpReply      = 2

	arpFrameLen = 14 + 28
	// Offsets in an Ethernet frame.
	arpOpcode    = 14 + 6
	arpSenderMAC = 14 + 8
	arpSenderIP  = 14 + 14
	arpTargetIP  = 14 + 24
)

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arp is an ARP packet in an Ethernet frame.
type arp struct {
	op                   uint16
	senderMAC, targetMAC net.HardwareAddr
	senderIP, targetIP   netip.Addr
}

// frame encodes the packet as a broadcast.
func (a arp) frame() []byte {
	b := make([]byte, 0, arpFrameLen)
	b = append(b, broadcastMAC...)
	b = append(b, a.senderMAC...)
	b = binary.BigEndian.AppendUint16(b, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, 1) // Ethernet
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, a.op)
	b = append(b, a.senderMAC...)
	b = append(b, a.senderIP.AsSlice()...)
	b = append(b, a.targetMAC...)
	return append(b, a.targetIP.AsSlice()...)
}

// gratuitous returns the frames that tell everybody on the link that mac has
// addr: an ARP request for the own address, which is the Announcement of RFC
// 5227, section 2.3, and a reply. RFC 5944, section 4.6 allows either, and there
// are routers that heed only the one or only the other.
func gratuitous(addr netip.Addr, mac net.HardwareAddr) [2][]byte {
	a := arp{op: arpRequest, senderMAC: mac, senderIP: addr, targetMAC: make(net.HardwareAddr, 6), targetIP: addr}
	request := a.frame()
	a.op, a.targetMAC = arpReply, mac // RFC 5944: in a reply both hardware addresses are the sender's
	return [2][]byte{request, a.frame()}
}

// ARPRequest is the broadcast frame in which mac, with address src, asks for
// target (RFC 826).
func ARPRequest(mac net.HardwareAddr, src, target netip.Addr) []byte {
	return arp{op: arpRequest, senderMAC: mac, senderIP: src, targetMAC: make(net.HardwareAddr, 6), targetIP: target}.frame()
}

// ARPSender is who an ARP frame is from, be it a request, a reply or an
// announcement; not ok if it is too short to say.
func ARPSender(frame []byte) (mac net.HardwareAddr, ip netip.Addr, ok bool) {
	if len(frame) < arpFrameLen {
		return nil, netip.Addr{}, false
	}
	ip, ok = netip.AddrFromSlice(frame[arpSenderIP : arpSenderIP+4])
	return frame[arpSenderMAC:arpSenderIP], ip, ok
}
