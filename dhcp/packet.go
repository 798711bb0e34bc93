package dhcp

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// requestKind distinguishes the messages of a client, which differ in the fields
// of RFC 2131 4.3.6, table 4.
type requestKind uint8

const (
	discover requestKind = iota
	selectOffer
	reboot
	renew
	rebind
	release
)

func (k requestKind) String() string {
	return [...]string{"DISCOVER", "REQUEST (selecting)", "REQUEST (init-reboot)", "REQUEST (renewing)", "REQUEST (rebinding)", "RELEASE"}[k]
}

// request is what the machine wants to be sent.
type request struct {
	kind   requestKind
	xid    uint32
	secs   time.Duration // since the client began to acquire or renew
	addr   netip.Addr    // asked for or held; zero for a DISCOVER that requests none
	server netip.Addr    // selected, or to be addressed
}

// encode builds the message.
func (c *Config) encode(r request) []byte {
	p := dhcpv4.DHCPv4{
		OpCode:       dhcpv4.OpcodeBootRequest,
		HWType:       iana.HWTypeEthernet,
		NumSeconds:   uint16(min(r.secs/time.Second, math.MaxUint16)),
		ClientHWAddr: c.MAC,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
	}
	binary.BigEndian.PutUint32(p.TransactionID[:], r.xid)
	held := r.kind == renew || r.kind == rebind || r.kind == release
	if held {
		p.ClientIPAddr = r.addr.AsSlice()
	} else if c.Broadcast {
		// A client that has its address can take unicast.
		p.SetBroadcast()
	}

	// The codec would sort the options. The message type goes first, as in every
	// common client: some servers look for it there.
	b := p.ToBytes()[:offOptions:offOptions]
	kind := dhcpv4.MessageTypeRequest
	switch r.kind {
	case discover:
		kind = dhcpv4.MessageTypeDiscover
	case release:
		kind = dhcpv4.MessageTypeRelease
	}
	b = appendOption(b, dhcpv4.OptionDHCPMessageType, byte(kind))
	b = c.appendIdentity(b, r.kind)
	if !held && r.addr.IsValid() {
		b = appendOption(b, dhcpv4.OptionRequestedIPAddress, r.addr.AsSlice()...)
	}
	if r.kind == selectOffer || r.kind == release {
		b = appendOption(b, dhcpv4.OptionServerIdentifier, r.server.AsSlice()...)
	}
	if r.kind == discover && c.RapidCommit && !c.sends(dhcpv4.OptionRapidCommit) {
		b = appendOption(b, dhcpv4.OptionRapidCommit)
	}
	b = append(b, dhcpv4.OptionEnd.Code())
	if len(b) < minMessage {
		b = append(b, make([]byte, minMessage-len(b))...)
	}
	return b
}

// minMessage is the length of a BOOTP message (RFC 951); some servers and relays
// drop shorter ones.
const minMessage = 300

// appendIdentity adds what says who the client is and what it wants, the same
// in every message. A RELEASE must not ask for anything (RFC 2131 table 5).
func (c *Config) appendIdentity(b []byte, kind requestKind) []byte {
	own := []Option{{dhcpv4.OptionClientIdentifier.Code(), c.ClientID}}
	if kind != release {
		params := make([]byte, 0, len(requested)+len(c.Request))
		for _, code := range requested {
			params = append(params, code.Code())
		}
		for _, code := range c.Request {
			if !slices.Contains(params, code) {
				params = append(params, code)
			}
		}
		own = append(own,
			Option{dhcpv4.OptionMaximumDHCPMessageSize.Code(), binary.BigEndian.AppendUint16(nil, defaultMTU-ipUDP)},
			Option{dhcpv4.OptionClassIdentifier.Code(), []byte(c.VendorClass)},
			Option{dhcpv4.OptionHostName.Code(), []byte(c.Hostname)},
			Option{dhcpv4.OptionParameterRequestList.Code(), params},
		)
		if c.UserClass != "" {
			own = append(own, Option{
				dhcpv4.OptionUserClassInformation.Code(),
				append([]byte{byte(len(c.UserClass))}, c.UserClass...),
			})
		}
	}
	for _, o := range own {
		if len(o.Data) > 0 && !c.sends(dhcpv4.GenericOptionCode(o.Code)) {
			b = appendOption(b, dhcpv4.GenericOptionCode(o.Code), o.Data...)
		}
	}
	for _, o := range c.Send {
		if kind != release || o.Code == dhcpv4.OptionClientIdentifier.Code() {
			b = appendOption(b, dhcpv4.GenericOptionCode(o.Code), o.Data...)
		}
	}
	return b
}

// sends reports whether the configuration replaces the client's own option.
func (c *Config) sends(code dhcpv4.OptionCode) bool {
	return slices.ContainsFunc(c.Send, func(o Option) bool { return o.Code == code.Code() })
}

func appendOption(b []byte, code dhcpv4.OptionCode, data ...byte) []byte {
	return append(append(b, code.Code(), byte(len(data))), data...)
}
