package dhcp

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Release gives the lease back (RFC 2131 4.4.6) and forgets it: one unicast packet
// from the leased address, which must still be on the interface. There is no
// answer to wait for. It is for a person who takes the WAN out of service, never
// for a demotion: the peer needs the lease.
func Release(ctx context.Context, cfg Config, l *Lease) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if err := l.validate(); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	var xid [4]byte
	_, _ = crand.Read(xid[:]) // never fails (crypto/rand)
	s := sockets{iface: cfg.Interface, mac: cfg.MAC, priority: cfg.Priority}
	udp, err := s.openUDP(ctx, l.Addr())
	if err != nil {
		return fmt.Errorf("release %v: %w", l.Addr(), err)
	}
	defer udp.Close()
	b := cfg.encode(request{kind: release, xid: binary.BigEndian.Uint32(xid[:]), addr: l.Addr(), server: l.Server})
	if _, err := udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(l.Server, serverPort)); err != nil {
		return fmt.Errorf("release %v: %w", l.Addr(), err)
	}
	return cfg.forget()
}
