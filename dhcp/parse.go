package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Bounds on what one packet can put into a Lease.
const (
	maxRoutes = 128
	maxDNS    = 8
	maxSearch = 32
	minMTU    = 576 // RFC 791: every host must take a datagram of this size
	wireMTU   = 68  // RFC 2132 5.1: the smallest value option 26 may have
	minBits   = 8   // no operator has a shorter prefix on a link; a mask of 0 would swallow every route
)

// message is a validated answer of a server.
type message struct {
	kind    dhcpv4.MessageType
	xid     uint32
	server  netip.Addr // option 54; zero if absent or insane
	rapid   bool       // option 80
	text    string     // option 56, printable ASCII
	lease   *Lease     // of an OFFER or ACK; nil if refusal says why not
	refusal error
	faults  []string // what was dropped or corrected
}

// Offsets in a BOOTP message (RFC 2131 2).
const (
	offXID      = 4
	offYiaddr   = 16
	offChaddr   = 28
	offSname    = 44
	offFile     = 108
	offCookie   = 236
	offOptions  = 240
	bootReply   = 2
	hwEthernet  = 1
	cookieValue = 0x63825363
)

// isReplyTo is the cheap test that every received packet has to pass first: a
// reply to the client mac with the transaction id xid.
func isReplyTo(b []byte, xid uint32, mac []byte) bool {
	return len(b) > offOptions &&
		b[0] == bootReply && b[1] == hwEthernet && int(b[2]) == len(mac) &&
		binary.BigEndian.Uint32(b[offXID:]) == xid &&
		bytes.Equal(b[offChaddr:offChaddr+len(mac)], mac) &&
		binary.BigEndian.Uint32(b[offCookie:]) == cookieValue
}

// decode parses and validates an answer. An error means that it must be dropped
// as if it had not come; a lease that cannot be used is not an error but a
// refusal, since it names a server that answers.
func (c *Config) decode(b []byte) (message, error) {
	opts, err := readOptions(b)
	if err != nil {
		return message{}, err
	}
	m := message{xid: binary.BigEndian.Uint32(b[offXID:])}
	kind := opts[dhcpv4.OptionDHCPMessageType.Code()]
	if len(kind) != 1 {
		return message{}, errors.New("no message type")
	}
	m.kind = dhcpv4.MessageType(kind[0])
	// RFC 6842: a server that echoes a client identifier which is not ours is
	// talking to somebody else.
	if id, ok := opts[dhcpv4.OptionClientIdentifier.Code()]; ok && len(c.ClientID) > 0 && !bytes.Equal(id, c.ClientID) {
		return message{}, errors.New("client identifier of another client")
	}
	if server, ok := addr4(opts[dhcpv4.OptionServerIdentifier.Code()]); ok && usable(server) {
		m.server = server
	}
	_, m.rapid = opts[dhcpv4.OptionRapidCommit.Code()]
	m.text = printable(opts[dhcpv4.OptionMessage.Code()])
	switch m.kind {
	case dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck:
		p := parser{opts: opts, cfg: c}
		yiaddr, _ := addr4(b[offYiaddr : offYiaddr+4])
		m.lease, m.refusal = p.lease(yiaddr, m.server)
		m.faults = p.faults
	case dhcpv4.MessageTypeNak:
	default:
		return message{}, fmt.Errorf("a server does not send %v", m.kind)
	}
	return m, nil
}

// readOptions collects the options of all fields. The codec reads the options
// field only, and sname and file as strings, so an overload (option 52) is
// resolved here: options, then file, then sname (RFC 3396 5).
func readOptions(b []byte) (dhcpv4.Options, error) {
	if len(b) < offOptions {
		return nil, errors.New("short packet")
	}
	// A missing end option is accepted: the UDP length has already determined where
	// the packet ends.
	p, err := dhcpv4.FromBytes(append(slices.Clip(b), dhcpv4.OptionEnd.Code()))
	if err != nil {
		return nil, err
	}
	overload := p.Options.Get(dhcpv4.OptionOptionOverload)
	if len(overload) == 0 {
		return p.Options, nil
	}
	if len(overload) != 1 || overload[0] < 1 || overload[0] > 3 {
		return nil, fmt.Errorf("option overload %x", overload)
	}
	if overload[0]&1 != 0 {
		if err := p.Options.FromBytes(b[offFile:offCookie]); err != nil {
			return nil, fmt.Errorf("options in file: %w", err)
		}
	}
	if overload[0]&2 != 0 {
		if err := p.Options.FromBytes(b[offSname:offFile]); err != nil {
			return nil, fmt.Errorf("options in sname: %w", err)
		}
	}
	return p.Options, nil
}

// parser turns options into a Lease and notes what it dropped or corrected.
type parser struct {
	opts   dhcpv4.Options
	cfg    *Config
	faults []string
}

func (p *parser) fault(what string) { p.faults = append(p.faults, what) }

func (p *parser) get(code dhcpv4.OptionCode) []byte { return p.opts.Get(code) }

// lease builds the lease, or says why none can be had from this packet.
func (p *parser) lease(addr, server netip.Addr) (*Lease, error) {
	l := &Lease{Server: server}
	var err error
	if l.Prefix, err = p.prefix(addr); err != nil {
		return nil, err
	}
	if err := p.times(l); err != nil {
		return nil, err
	}
	p.routes(l)
	l.Broadcast = p.broadcast(l)
	l.DNS = p.dns()
	l.Domain = p.name(dhcpv4.OptionDomainName)
	l.Hostname = p.name(dhcpv4.OptionHostName)
	l.Search = p.search()
	l.MTU = p.mtu()
	for _, code := range p.cfg.Request {
		if v, ok := p.opts[code]; ok {
			l.Extra = append(l.Extra, Option{Code: code, Data: v})
		}
	}
	return l, nil
}

func (p *parser) prefix(addr netip.Addr) (netip.Prefix, error) {
	ones := 32
	if mask := p.get(dhcpv4.OptionSubnetMask); mask == nil {
		// RFC 950 would guess by class. A /32 is the guess that cannot be wrong:
		// everything goes through the gateway, which is on the link.
		p.fault("no subnet mask")
	} else {
		if len(mask) != 4 {
			return netip.Prefix{}, fmt.Errorf("subnet mask of %d bytes", len(mask))
		}
		v := binary.BigEndian.Uint32(mask)
		ones = bits.LeadingZeros32(^v)
		if bits.OnesCount32(v) != ones {
			return netip.Prefix{}, fmt.Errorf("subnet mask %v has holes", netip.AddrFrom4([4]byte(mask)))
		}
	}
	prefix := netip.PrefixFrom(addr, ones)
	return prefix, checkPrefix(prefix)
}

// checkPrefix reports whether a host can have this address with this mask.
func checkPrefix(p netip.Prefix) error {
	if !usable(p.Addr()) {
		return fmt.Errorf("address %v is not a unicast address", p.Addr())
	}
	if p.Bits() < minBits {
		return fmt.Errorf("a subnet mask of %d bits", p.Bits())
	}
	if p.Bits() <= 30 && (p.Addr() == p.Masked().Addr() || p.Addr() == lastAddr(p)) {
		return fmt.Errorf("address %v is the network or broadcast address", p)
	}
	return nil
}

// times reads lease time, T1 and T2. The latter stay zero unless they make
// sense; the machine, which has the dice, fills in the defaults.
func (p *parser) times(l *Lease) error {
	ttl, ok := p.seconds(dhcpv4.OptionIPAddressLeaseTime)
	switch {
	case !ok:
		return errors.New("no lease time")
	case ttl == 0:
		return errors.New("a lease time of 0")
	case ttl == 1<<32-1:
		l.TTL, l.T1, l.T2 = Infinite, Infinite, Infinite
		return nil
	}
	l.TTL = time.Duration(ttl) * time.Second
	t1, _ := p.seconds(dhcpv4.OptionRenewTimeValue)
	t2, _ := p.seconds(dhcpv4.OptionRebindingTimeValue)
	if t2 >= ttl {
		p.fault("T2 beyond the lease time")
		t2 = 0
	}
	if t1 >= ttl || (t2 != 0 && t1 >= t2) {
		p.fault("T1 beyond T2 or the lease time")
		t1, t2 = 0, 0
	}
	l.T1, l.T2 = time.Duration(t1)*time.Second, time.Duration(t2)*time.Second
	return nil
}

func (p *parser) seconds(code dhcpv4.OptionCode) (uint32, bool) {
	v := p.get(code)
	if len(v) != 4 {
		if v != nil {
			p.fault(fmt.Sprintf("option %d of %d bytes", code.Code(), len(v)))
		}
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// broadcast reads option 28. The kernel takes no route through a broadcast address,
// so one that is a gateway is not believed.
func (p *parser) broadcast(l *Lease) netip.Addr {
	if l.Prefix.Bits() > 30 {
		return netip.Addr{}
	}
	b, ok := addr4(p.get(dhcpv4.OptionBroadcastAddress))
	if !ok {
		return lastAddr(l.Prefix)
	}
	gateway := slices.ContainsFunc(l.Routes, func(r Route) bool { return r.Gateway == b })
	if !l.Prefix.Contains(b) || b == l.Addr() || gateway {
		p.fault(fmt.Sprintf("broadcast address %v", b))
		return lastAddr(l.Prefix)
	}
	return b
}

func (p *parser) dns() []netip.Addr {
	all := p.addrs(dhcpv4.OptionDomainNameServer)
	if len(all) > maxDNS {
		p.fault("too many name servers")
		all = all[:maxDNS]
	}
	return all
}

// addrs reads a list of addresses, without the unusable and the repeated ones.
func (p *parser) addrs(code dhcpv4.OptionCode) []netip.Addr {
	v := p.get(code)
	if len(v)%4 != 0 {
		p.fault(fmt.Sprintf("option %d of %d bytes", code.Code(), len(v)))
		return nil
	}
	var all []netip.Addr
	for ; len(v) > 0; v = v[4:] {
		a := netip.AddrFrom4([4]byte(v[:4]))
		if !usable(a) {
			p.fault(fmt.Sprintf("option %d names %v", code.Code(), a))
		} else if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

func (p *parser) mtu() int {
	v := p.get(dhcpv4.OptionInterfaceMTU)
	if v == nil {
		return 0
	}
	if len(v) != 2 || binary.BigEndian.Uint16(v) < wireMTU {
		p.fault(fmt.Sprintf("MTU %x", v))
		return 0
	}
	mtu := int(binary.BigEndian.Uint16(v))
	if mtu < minMTU {
		p.fault(fmt.Sprintf("MTU %d", mtu))
	}
	return max(mtu, minMTU)
}

func addr4(b []byte) (netip.Addr, bool) {
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

// usable reports whether a is an address that a host can have: not of 0/8, not
// loopback, multicast, class E or the limited broadcast.
func usable(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// lastAddr is the address of p with all host bits set.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}
