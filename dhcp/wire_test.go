package dhcp_test

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// line is a request in one line, for comparison.
func line(r seen) string {
	s := r.MessageType().String() + " " + r.from.String() + ">" + r.to.String()
	if ip := r.RequestedIPAddress(); ip != nil {
		s += " want=" + ip.String()
	}
	if ip := r.ServerIdentifier(); ip != nil {
		s += " server=" + ip.String()
	}
	return s
}

func lines(s *server) (all []string) {
	for _, r := range s.requests() {
		all = append(all, line(r))
	}
	return all
}

const broadcast = "0.0.0.0>255.255.255.255"

func TestAcquireRenewRemember(t *testing.T) {
	s, _ := newServer(t)
	file := dhcp.PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	start := time.Now()
	s.do((*server).hasty)
	k := run(t, dhcp.Config{LeaseFile: file})
	l := k.bound()
	t.Logf("cold acquisition took %v", time.Since(start))
	if l.Prefix != leasedIP || l.Server != serverIP || l.Gateway != serverIP || l.Remaining() < 59*time.Minute {
		t.Errorf("lease %+v", l)
	}
	k.until("renewing", func(u dhcp.Update) bool { return u.State == dhcp.Renewing })
	l = k.bound()
	k.stop()
	if m, err := dhcp.ReadLease(file); err != nil || m.Acquired != l.Acquired || m.Prefix != leasedIP {
		t.Errorf("lease file %+v, %v", m, err)
	}

	k = run(t, dhcp.Config{LeaseFile: file})
	if first := <-k.updates; first.Lease == nil || first.Lease.Prefix != leasedIP {
		t.Fatalf("first update %+v", first)
	}
	k.bound()
	k.stop()
	want := []string{
		"DISCOVER " + broadcast,
		"REQUEST " + broadcast + " want=192.0.2.100 server=192.0.2.1",
		"REQUEST 192.0.2.100>192.0.2.1",
		"REQUEST " + broadcast + " want=192.0.2.100",
	}
	if got := lines(s); !slices.Equal(got, want) {
		t.Errorf("the server saw\n%s", strings.Join(got, "\n"))
	}
	for _, r := range s.requests() {
		if r.source.String() != mac.String() {
			t.Errorf("%s from the MAC %v", line(r), r.source)
		}
	}
}

// The RENEW gets no answer; the REBIND does, from a server with another address.
// Only T1, T2 and the lease itself take time here.
func TestRebind(t *testing.T) {
	s, _ := newServer(t)
	s.do(func(s *server, r seen) {
		if r.to == serverIP {
			return
		}
		id := serverIP
		if !r.ClientIPAddr.IsUnspecified() {
			id = netip.MustParseAddr("192.0.2.2")
		}
		s.lease(r, dhcpv4.WithLeaseTime(2), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(id.AsSlice())))
	})
	k := run(t, dhcp.Config{})
	first := k.bound()
	second := k.bound()
	k.stop()
	want := []string{
		"DISCOVER " + broadcast,
		"REQUEST " + broadcast + " want=192.0.2.100 server=192.0.2.1",
		"REQUEST 192.0.2.100>192.0.2.1",
		"REQUEST 192.0.2.100>255.255.255.255",
	}
	if got := lines(s); !slices.Equal(got, want) {
		t.Errorf("the server saw\n%s", strings.Join(got, "\n"))
	}
	if second.Server == first.Server || second.Prefix != first.Prefix {
		t.Errorf("first %+v\nsecond %+v", first, second)
	}
}

// Answers come by broadcast or to our MAC, with or without a UDP checksum, and with
// whatever IP destination.
func TestAnswersHoweverAddressed(t *testing.T) {
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for name, c := range map[string]struct {
		mac net.HardwareAddr
		ip  string
	}{
		"unicast":                    {mac, "192.0.2.100"},
		"broadcast":                  {all, "255.255.255.255"},
		"broadcast to our MAC":       {mac, "255.255.255.255"},
		"broadcast to the new one":   {all, "192.0.2.100"},
		"directed broadcast":         {all, "192.0.2.255"},
		"to an address not ours":     {mac, "198.51.100.9"},
		"by the kernel's UDP socket": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, ns := newServer(t)
			answer := func(r seen, b []byte) { s.frame(c.mac, netip.MustParseAddr(c.ip), b) }
			if c.mac == nil {
				answer = udpAnswers(t, ns)
			}
			s.do(func(s *server, r seen) {
				kind := dhcpv4.MessageTypeAck
				if r.MessageType() == dhcpv4.MessageTypeDiscover {
					kind = dhcpv4.MessageTypeOffer
				}
				answer(r, reply(r, kind).ToBytes())
			})
			run(t, dhcp.Config{}).bound()
			if n := len(s.requests()); n != 2 {
				t.Errorf("it took %d requests", n)
			}
		})
	}
}

// udpAnswers sends through the far kernel's stack: between veths such a packet
// never gets a checksum.
func udpAnswers(t *testing.T, ns *nstest.NS) func(seen, []byte) {
	var conn net.PacketConn
	ns.Do(t, func() (err error) {
		conn, err = net.ListenPacket("udp4", "192.0.2.1:67")
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	return func(_ seen, b []byte) {
		if _, err := conn.WriteTo(b, &net.UDPAddr{IP: net.IPv4bcast, Port: 68}); err != nil {
			t.Errorf("UDP answer: %v", err)
		}
	}
}

// packetSockets lists the packet sockets of the test's own namespace.
func packetSockets(t *testing.T) []string {
	b, err := os.ReadFile("/proc/thread-self/net/packet")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")[1:]
}

// eventually polls for what the kernel does in its own time.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(onNothing); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestNothingOpenWhileBound(t *testing.T) {
	s, _ := newServer(t)
	s.do(func(*server, seen) {})
	k := run(t, dhcp.Config{})
	s.next(dhcpv4.MessageTypeDiscover)
	if n := len(packetSockets(t)); n != 1 {
		t.Fatalf("%d packet sockets while an answer is awaited", n)
	}
	s.do((*server).hasty)
	k.client.Carrier(false)
	k.client.Carrier(true)
	k.bound()
	eventually(t, "packet sockets closed", func() bool { return len(packetSockets(t)) == 0 })
	k.until("renewing", func(u dhcp.Update) bool { return u.State == dhcp.Renewing })
	k.bound()
	eventually(t, "sockets closed", func() bool {
		udp, err := os.ReadFile("/proc/thread-self/net/udp")
		if err != nil {
			t.Fatal(err)
		}
		return len(packetSockets(t)) == 0 && !strings.Contains(string(udp), ":0044 ")
	})
}

// Run is out within milliseconds while a socket is open, and nothing follows.
func TestEndsAtOnce(t *testing.T) {
	s, _ := newServer(t)
	s.do(func(*server, seen) {})
	var took []time.Duration
	for range 10 {
		k := run(t, dhcp.Config{})
		s.next(dhcpv4.MessageTypeDiscover)
		took = append(took, k.stop())
	}
	slices.Sort(took)
	t.Logf("from cancel to the end of Run: %v", took)
	// The kernel closes a packet socket only after an RCU grace period, which may
	// be over at once or take 15 ms (packet_release in net/packet/af_packet.c).
	if median := took[len(took)/2]; median > 250*time.Millisecond {
		t.Errorf("median %v", median)
	}
	if n := len(s.requests()); n != len(took) {
		t.Errorf("%d packets from %d runs", n, len(took))
	}
	eventually(t, "packet sockets closed", func() bool { return len(packetSockets(t)) == 0 })
}

// On a macvlan as in production, which somebody deletes and makes again.
func TestInterfaceReplaced(t *testing.T) {
	s, _ := newServer(t)
	parent, err := netlink.LinkByName("wan0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetHardwareAddr(parent, net.HardwareAddr{2, 0, 0, 0, 0, 7}); err != nil {
		t.Fatal(err)
	}
	add := func() netlink.Link {
		l := &netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE, LinkAttrs: netlink.LinkAttrs{Name: "mv0", ParentIndex: parent.Attrs().Index, HardwareAddr: mac}}
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	s.do(func(*server, seen) {})
	k := run(t, dhcp.Config{Interface: "mv0"})
	k.until("a finding", func(u dhcp.Update) bool { return u.Diagnosis == dhcp.NoCarrier })
	l := add()
	k.client.Carrier(true)
	s.next(dhcpv4.MessageTypeDiscover)
	if err := netlink.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	k.until("a finding", func(u dhcp.Update) bool { return u.Diagnosis == dhcp.NoCarrier })
	add()
	s.do((*server).honest)
	k.client.Carrier(true)
	if l := k.bound(); l.Prefix != leasedIP {
		t.Errorf("lease %+v", l)
	}
}

func TestRelease(t *testing.T) {
	s, _ := newServer(t)
	cfg := dhcp.Config{Interface: "wan0", MAC: mac, LeaseFile: dhcp.PathFile(filepath.Join(t.TempDir(), "wan.lease")), ClientID: []byte{0xff, 1, 2}}
	k := run(t, cfg)
	l := k.bound()
	k.stop()
	for _, r := range s.requests() {
		if r.MessageType() == dhcpv4.MessageTypeRelease {
			t.Error("Run released the lease")
		}
	}
	if err := dhcp.Release(t.Context(), cfg, l); err != nil {
		t.Fatal(err)
	}
	r := s.next(dhcpv4.MessageTypeRelease)
	if got, want := line(r), "RELEASE 192.0.2.100>192.0.2.1 server=192.0.2.1"; got != want {
		t.Errorf("got %s", got)
	}
	if _, err := dhcp.ReadLease(cfg.LeaseFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lease file: %v", err)
	}
	if err := dhcp.Release(t.Context(), cfg, &dhcp.Lease{}); err == nil {
		t.Error("an empty lease was released")
	}
}
