package dhcp_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/dhcp"
)

// A probe is one DISCOVER from the shared MAC through an interface with another,
// and receives an answer that is unicast to the shared one.
func TestProbe(t *testing.T) {
	s, _ := newServer(t)
	link, err := netlink.LinkByName("wan0")
	if err != nil {
		t.Fatal(err)
	}
	own := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	if err := netlink.LinkSetHardwareAddr(link, own); err != nil {
		t.Fatal(err)
	}
	probe := func(limit time.Duration) []dhcp.Offer {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		offers, err := dhcp.Probe(ctx, dhcp.Config{Interface: "wan0", MAC: mac, Hostname: "gate", VendorClass: "vc"})
		if err != nil {
			t.Fatal(err)
		}
		return offers
	}
	offers := probe(time.Second)
	if len(offers) != 1 || offers[0].Lease == nil || offers[0].Lease.Prefix != leasedIP || offers[0].Server != serverIP || offers[0].After <= 0 {
		t.Errorf("got %+v", offers)
	}
	r := s.next(dhcpv4.MessageTypeDiscover)
	if r.source.String() != mac.String() || r.ClientHWAddr.String() != mac.String() || r.HostName() != "gate" || r.ClassIdentifier() != "vc" {
		t.Errorf("sent from %s: %v", r.source, r.Summary())
	}
	s.do(func(*server, seen) {})
	if offers := probe(300 * time.Millisecond); len(offers) != 0 {
		t.Errorf("a silent server: %+v", offers)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.log) != 2 {
		t.Errorf("%d packets for two probes", len(s.log))
	}
	link, err = netlink.LinkByName("wan0")
	if err != nil || link.Attrs().Promisc != 0 {
		t.Errorf("the interface is still promiscuous: %v", err)
	}
}

func TestProbeWithoutInterface(t *testing.T) {
	if _, err := dhcp.Probe(t.Context(), dhcp.Config{Interface: "none0", MAC: mac}); err == nil {
		t.Error("no error")
	}
}
