package netif

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var (
	shared    = net.HardwareAddr{0x02, 0x68, 0x71, 0x2e, 0x62, 0x67}
	gatewayIP = netip.MustParseAddr("198.51.100.1")
	wan       = Link{Name: "wan", Parent: "port0", MAC: shared}
)

// bench is a router's WAN port (port0, in the namespace of the test) and what
// is at the other end of its cable (isp0, in one of its own).
type bench struct {
	*Manager
	t     *testing.T
	isp   *nstest.NS
	steps []string
}

// newBench plugs the cable in. IPv6 of the port itself is off, as documented for
// users, so that whatever a capture shows is the macvlan's doing.
func newBench(t *testing.T) *bench {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	b := &bench{t: t, isp: nstest.New(t)}
	setSysctl(t, "net/ipv6/conf/default/disable_ipv6", "1")
	b.isp.Do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	b.isp.Veth(t, "port0", "isp0")
	// What is made from now on must be silenced by the code under test.
	setSysctl(t, "net/ipv6/conf/default/disable_ipv6", "0")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m, err := New(log, WithStep(func(s string) { b.steps = append(b.steps, s) }))
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = m
	t.Cleanup(func() {
		if _, err := m.Purge(context.Background(), wan); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if _, err := m.RemoveBackupDefault(context.Background()); err != nil {
			t.Errorf("clean up: %v", err)
		}
		_ = m.Close()
	})
	return b
}

func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// lease is a desired state with an address and the usual default route.
func lease(prefix string) Desired {
	p := netip.MustParsePrefix(prefix)
	return Desired{
		Link: wan, Addr: p, Valid: time.Hour,
		Routes: []Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gatewayIP}},
	}
}

func (b *bench) apply(d Desired) Changes {
	b.t.Helper()
	c, err := b.Apply(b.t.Context(), d)
	if err != nil {
		b.t.Fatalf("apply: %v", err)
	}
	return c
}

func (b *bench) observe() Observed {
	b.t.Helper()
	o, err := b.Observe(b.t.Context(), wan)
	if err != nil {
		b.t.Fatalf("observe: %v", err)
	}
	return o
}

// address gives isp0 the gateway's address and switches on what a host answers.
func (b *bench) gateway() {
	b.t.Helper()
	b.isp.Do(b.t, func() error {
		l, err := netlink.LinkByName("isp0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(gatewayIP.String() + "/24")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, addr)
	})
}

// ip runs ip(8) in the router.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command("ip", args...)
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// monitor counts the messages that the kernel multicasts about links,
// addresses, routes, neighbours and queueing disciplines.
type monitor struct {
	sock *nl.NetlinkSocket
	mu   sync.Mutex
	msgs []string
	done chan struct{}
}

func newMonitor(t *testing.T) *monitor {
	t.Helper()
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{sock: sock, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			msgs, _, err := sock.Receive()
			if err != nil {
				return
			}
			m.mu.Lock()
			for _, msg := range msgs {
				m.msgs = append(m.msgs, fmt.Sprintf("type %d: %x", msg.Header.Type, msg.Data))
			}
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { sock.Close(); <-m.done })
	return m
}

// fence makes a change of its own and waits for its message: whatever happened
// before has been counted by then. It returns what was seen before the fence
// and forgets it.
func (m *monitor) fence(t *testing.T) []string {
	t.Helper()
	const prefix = "203.0.113.255/32"
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := netlink.ParseAddr(prefix)
	if err := netlink.AddrAdd(lo, addr); err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrDel(lo, addr); err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("%x", []byte(addr.IP.To4()))
	waitFor(t, "the monitor's fence", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.ContainsFunc(m.msgs, func(s string) bool {
			return strings.HasPrefix(s, fmt.Sprintf("type %d:", unix.RTM_DELADDR)) && strings.Contains(s, mark)
		})
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := slices.DeleteFunc(m.msgs, func(s string) bool { return strings.Contains(s, mark) })
	m.msgs = nil
	return seen
}

// waitFor polls what has no event of its own in a test.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
