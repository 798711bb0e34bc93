package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// ip returns header and payload of an IPv4 frame.
func (f Frame) ip() (header, payload []byte, ok bool) {
	d := f.Data
	if len(d) < 34 || binary.BigEndian.Uint16(d[12:]) != unix.ETH_P_IP {
		return nil, nil, false
	}
	length := int(d[14]&0xf) * 4
	total := int(binary.BigEndian.Uint16(d[16:]))
	if length < 20 || total < length || len(d) < 14+total {
		return nil, nil, false
	}
	return d[14 : 14+length], d[14+length : 14+total], true
}

// Advert is a VRRP advertisement.
type Advert struct {
	From     netip.Addr
	Priority int // 0: the master gives up
}

// Advert decodes a VRRP advertisement, of version 2 or 3.
func (f Frame) Advert() (Advert, bool) {
	h, p, ok := f.ip()
	if !ok || h[9] != protoVRRP || len(p) < 8 || p[0]&0xf != 1 {
		return Advert{}, false
	}
	return Advert{From: netip.AddrFrom4([4]byte(h[12:16])), Priority: int(p[2])}, true
}

// DHCP decodes a DHCP message.
func (f Frame) DHCP() (*dhcpv4.DHCPv4, bool) {
	h, p, ok := f.ip()
	if !ok || h[9] != unix.IPPROTO_UDP || len(p) < 8 {
		return nil, false
	}
	if port := binary.BigEndian.Uint16(p[2:]); port != 67 && port != 68 {
		return nil, false
	}
	m, err := dhcpv4.FromBytes(p[8:])
	return m, err == nil
}

// ARP is what an ARP packet says.
type ARP struct {
	Reply          bool
	SenderMAC      net.HardwareAddr
	Sender, Target netip.Addr
	Gratuitous     bool
}

// ARP decodes an ARP packet.
func (f Frame) ARP() (ARP, bool) {
	d := f.Data
	if len(d) < 42 || binary.BigEndian.Uint16(d[12:]) != unix.ETH_P_ARP {
		return ARP{}, false
	}
	p := d[14:]
	a := ARP{
		Reply:     binary.BigEndian.Uint16(p[6:]) == 2,
		SenderMAC: net.HardwareAddr(p[8:14]),
		Sender:    netip.AddrFrom4([4]byte(p[14:18])),
		Target:    netip.AddrFrom4([4]byte(p[24:28])),
	}
	a.Gratuitous = a.Sender == a.Target
	return a, true
}

// String is one line about the frame, for people.
func (f Frame) String() string {
	if a, ok := f.Advert(); ok {
		return fmt.Sprintf("VRRP advert of %s, priority %d", a.From, a.Priority)
	}
	if m, ok := f.DHCP(); ok {
		s := "DHCP " + m.MessageType().String()
		if ip := m.YourIPAddr; ip != nil && !ip.IsUnspecified() {
			s += " " + ip.String()
		} else if ip := m.RequestedIPAddress(); ip != nil {
			s += " " + ip.String()
		}
		return s
	}
	if a, ok := f.ARP(); ok {
		switch {
		case a.Gratuitous:
			return fmt.Sprintf("gratuitous ARP: %s is at %s", a.Sender, a.SenderMAC)
		case a.Reply:
			return fmt.Sprintf("ARP: %s is at %s", a.Sender, a.SenderMAC)
		}
		return fmt.Sprintf("ARP: %s asks for %s", a.Sender, a.Target)
	}
	return fmt.Sprintf("%s > %s, type %04x, %d bytes", f.Src(), f.Dst(), binary.BigEndian.Uint16(f.Data[12:]), len(f.Data))
}
