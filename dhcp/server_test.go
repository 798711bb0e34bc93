package dhcp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/lab/nstest"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

var (
	mac       = net.HardwareAddr{0x02, 0x68, 0x71, 0x2e, 0x62, 0x67}
	serverIP  = netip.MustParseAddr("192.0.2.1")
	leasedIP  = netip.MustParsePrefix("192.0.2.100/24")
	onNothing = 10 * time.Second // for what must happen: the test fails after it
)

// seen is a request as the server saw it.
type seen struct {
	*dhcpv4.DHCPv4
	at       time.Time
	from, to netip.Addr
	source   net.HardwareAddr
}

// server is a DHCP server of ours that does whatever a test wants. It sees and
// sends frames, so nothing of the kernel stands between.
type server struct {
	t      testing.TB
	conn   *packet.Conn
	over   atomic.Bool
	mu     sync.Mutex
	log    []seen
	answer func(*server, seen)
	got    chan seen
}

// newServer starts a server on the far end of a veth whose near end, wan0, has the
// shared MAC.
func newServer(t testing.TB) (*server, *nstest.NS) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // the last one to run
	ns := nstest.New(t)
	ns.Veth(t, "wan0", "isp0")
	link, err := netlink.LinkByName("wan0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, got: make(chan seen, 1000), answer: (*server).honest}
	ns.Do(t, func() error {
		ifi, err := net.InterfaceByName("isp0")
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName("isp0")
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: serverIP.AsSlice(), Mask: net.CIDRMask(24, 32)}}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		s.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, nil)
		return err
	})
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { s.over.Store(true); _ = s.conn.Close(); <-done })
	return s, ns
}

func (s *server) do(f func(*server, seen)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

func (s *server) serve() {
	buf := make([]byte, 4096)
	for {
		n, addr, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		b := buf[14:n]
		if len(b) < 28 || b[9] != 17 || binary.BigEndian.Uint16(b[22:]) != 67 {
			continue
		}
		p, err := dhcpv4.FromBytes(append([]byte(nil), b[28:]...))
		if err != nil {
			s.t.Errorf("the client sent a malformed packet: %v", err)
			continue
		}
		r := seen{
			DHCPv4: p, at: time.Now(), source: append(net.HardwareAddr(nil), addr.(*packet.Addr).HardwareAddr...),
			from: netip.AddrFrom4([4]byte(b[12:16])), to: netip.AddrFrom4([4]byte(b[16:20])),
		}
		s.mu.Lock()
		s.log = append(s.log, r)
		answer := s.answer
		s.mu.Unlock()
		select {
		case s.got <- r:
		default:
		}
		answer(s, r)
	}
}

// next waits for a request of the given type.
func (s *server) next(kind dhcpv4.MessageType) seen {
	s.t.Helper()
	limit := time.After(onNothing)
	for {
		select {
		case r := <-s.got:
			if r.MessageType() == kind {
				return r
			}
		case <-limit:
			s.t.Fatalf("no %v from the client", kind)
		}
	}
}

func (s *server) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.log...)
}

// reply builds an answer of the given type with a sound lease.
func reply(r seen, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	all := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverIP.AsSlice()))}
	if kind != dhcpv4.MessageTypeNak {
		all = append(all,
			dhcpv4.WithYourIP(leasedIP.Addr().AsSlice()),
			dhcpv4.WithNetmask(net.CIDRMask(leasedIP.Bits(), 32)),
			dhcpv4.WithRouter(serverIP.AsSlice()),
			dhcpv4.WithLeaseTime(3600),
		)
	}
	p, err := dhcpv4.NewReplyFromRequest(r.DHCPv4, append(all, mods...)...)
	if err != nil {
		panic(err)
	}
	return p
}

func (s *server) honest(r seen) { s.lease(r) }

// hasty grants a lease that is to be renewed after a second, and then one that is
// not.
func (s *server) hasty(r seen) {
	var mods []dhcpv4.Modifier
	if r.ClientIPAddr.IsUnspecified() {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(time.Second)))
	}
	s.lease(r, mods...)
}

// lease answers as a server should, with the given changes.
func (s *server) lease(r seen, mods ...dhcpv4.Modifier) {
	switch r.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		s.send(r, reply(r, dhcpv4.MessageTypeOffer, mods...).ToBytes())
	case dhcpv4.MessageTypeRequest:
		s.send(r, reply(r, dhcpv4.MessageTypeAck, mods...).ToBytes())
	}
}

// send puts a message into a unicast frame to the client.
func (s *server) send(r seen, payload []byte) {
	s.frame(mac, leasedIP.Addr(), payload)
}

func (s *server) frame(dst net.HardwareAddr, to netip.Addr, payload []byte) {
	s.write(dst, wrap(dst, to, payload))
}

// wrap puts a message into a frame without a UDP checksum.
func wrap(dst net.HardwareAddr, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 42, 42+len(payload))
	copy(b, dst)
	copy(b[6:], []byte{2, 0, 0, 0, 0, 1})
	b[12], b[13] = 8, 0
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	from := serverIP.As4()
	copy(ip[12:], from[:])
	dest := to.As4()
	copy(ip[16:], dest[:])
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(ip[20:], 67)
	binary.BigEndian.PutUint16(ip[22:], 68)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

func (s *server) write(dst net.HardwareAddr, b []byte) {
	_, err := s.conn.WriteTo(b, &packet.Addr{HardwareAddr: dst})
	// Under a flood the far queue may be full: the frame is lost, as on a wire.
	if err != nil && !s.over.Load() && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.ENETDOWN) {
		s.t.Errorf("server: %v", err)
	}
}

// keeper plays the consumer: it puts the address of each lease on wan0.
type keeper struct {
	t        testing.TB
	iface    string
	client   *dhcp.Client
	received *atomic.Int64 // packets that it took for answers
	updates  chan dhcp.Update
	stop     func() time.Duration
}

// run starts a client on wan0 and the consumer.
func run(t testing.TB, cfg dhcp.Config) *keeper {
	t.Helper()
	cfg.MAC = mac
	if cfg.Interface == "" {
		cfg.Interface = "wan0"
	}
	c, err := dhcp.New(cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := &keeper{t: t, iface: cfg.Interface, client: c, received: dhcp.CountReceived(c), updates: make(chan dhcp.Update, 1000)}
	raw := make(chan dhcp.Update)
	done := make(chan struct{})
	go func() {
		defer close(raw)
		if err := c.Run(ctx, raw); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	go func() {
		defer close(done)
		var held netip.Prefix
		for u := range raw {
			held = k.apply(held, u.Lease)
			select {
			case k.updates <- u:
			default: // the test has seen enough
			}
		}
	}()
	k.stop = func() time.Duration {
		start := time.Now()
		cancel()
		<-done
		return time.Since(start)
	}
	t.Cleanup(func() { k.stop() })
	return k
}

func (k *keeper) apply(held netip.Prefix, l *dhcp.Lease) netip.Prefix {
	var want netip.Prefix
	if l != nil {
		want = l.Prefix
	}
	if want == held {
		return held
	}
	link, err := netlink.LinkByName(k.iface)
	if err != nil {
		return held
	}
	ipnet := func(p netip.Prefix) *netlink.Addr {
		return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
	}
	if held.IsValid() {
		_ = netlink.AddrDel(link, ipnet(held))
	}
	if want.IsValid() {
		if err := netlink.AddrReplace(link, ipnet(want)); err != nil {
			k.t.Errorf("add %v: %v", want, err)
		}
	}
	return want
}

// until waits for an update that satisfies f.
func (k *keeper) until(what string, f func(dhcp.Update) bool) dhcp.Update {
	k.t.Helper()
	limit := time.After(onNothing)
	for {
		select {
		case u := <-k.updates:
			if f(u) {
				return u
			}
		case <-limit:
			k.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (k *keeper) bound() *dhcp.Lease {
	k.t.Helper()
	return k.until("a lease", func(u dhcp.Update) bool { return u.State == dhcp.Bound && u.Lease != nil }).Lease
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
