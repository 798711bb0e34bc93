package dhcp

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// Offer is an answer to a Probe.
type Offer struct {
	Server  netip.Addr
	Lease   *Lease // what would be granted; nil if Refusal says why it cannot be used
	Refusal error
	After   time.Duration
}

// Probe asks with a single DISCOVER from cfg.MAC which servers would answer, and
// takes nothing: an offer that nobody requests lapses (RFC 2131 3.1). It returns
// the offers that come until ctx ends, at most 16 of them.
//
// cfg.Interface is the parent of the WAN, whose own MAC is another one. For the
// time of the probe it receives frames that are not addressed to it.
//
// The frame makes switches and the operator send what is for the shared MAC to
// this router. No other may be using it.
func Probe(ctx context.Context, cfg Config) ([]Offer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	var random [4]byte
	_, _ = crand.Read(random[:]) // never fails (crypto/rand)
	xid := binary.BigEndian.Uint32(random[:])
	s := sockets{iface: cfg.Interface, mac: cfg.MAC, priority: cfg.Priority}
	answers := make(chan datagram)
	c, err := s.open(func(b []byte) bool { return isReplyTo(b, xid, cfg.MAC) }, answers)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	defer c.close()
	raw := c.(*socketConn).raw
	if err := raw.SetPromiscuous(true); err != nil {
		return nil, fmt.Errorf("probe: listen to all of %s: %w", cfg.Interface, err)
	}
	defer func() { _ = raw.SetPromiscuous(false) }() // close returns before the kernel has closed
	start := time.Now()
	if err := s.sendAs(cfg.encode(request{kind: discover, xid: xid})); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	const most = 16
	var offers []Offer
	for len(offers) < most {
		select {
		case <-ctx.Done():
			return offers, nil
		case d := <-answers:
			if d.err != nil {
				return offers, fmt.Errorf("probe: %w", d.err)
			}
			m, err := cfg.decode(d.payload)
			if err != nil || m.kind != dhcpv4.MessageTypeOffer {
				continue
			}
			offers = append(offers, Offer{Server: m.server, Lease: m.lease, Refusal: m.refusal, After: time.Since(start)})
		}
	}
	return offers, nil
}

// sendAs broadcasts a message from s.mac, whatever the interface's own MAC is.
func (s *sockets) sendAs(payload []byte) error {
	ifi, err := net.InterfaceByName(s.iface)
	if err != nil {
		return err
	}
	raw, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return fmt.Errorf("open packet socket on %s: %w", s.iface, err)
	}
	defer raw.Close()
	if rc, err := raw.SyscallConn(); err == nil && s.priority > 0 {
		var set error
		if err := errors.Join(rc.Control(func(fd uintptr) { set = setPriority(fd, s.priority) }), set); err != nil {
			return err
		}
	}
	frame := append(append([]byte{}, broadcastMAC.HardwareAddr...), s.mac...)
	frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
	_, err = raw.WriteTo(append(frame, broadcastDatagram(payload)...), broadcastMAC)
	return err
}
