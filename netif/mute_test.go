package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

var (
	wanIP = netip.MustParseAddr("198.51.100.7")
	lanIP = netip.MustParseAddr("192.0.2.2")
)

// withLAN connects a client on the LAN and makes the router forward.
func (b *bench) withLAN() *nstest.NS {
	b.t.Helper()
	lan := nstest.New(b.t)
	lan.Veth(b.t, "lan0", "client0")
	// Else duplicate address detection ends some time later, with a route of its own.
	setSysctl(b.t, "net/ipv6/conf/lan0/disable_ipv6", "1")
	ip(b.t, "addr", "add", "192.0.2.1/24", "dev", "lan0")
	setSysctl(b.t, "net/ipv4/ip_forward", "1")
	lan.Do(b.t, func() error {
		for _, args := range [][]string{
			{"addr", "add", lanIP.String() + "/24", "dev", "client0"},
			{"route", "add", "default", "via", "192.0.2.1"},
		} {
			if out, err := lan.Command("ip", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %v: %w: %s", args, err, out)
			}
		}
		return nil
	})
	return lan
}

// socketOnDevice opens a UDP socket with SO_BINDTODEVICE.
func socketOnDevice(device string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if ctl := c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), device),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		}); ctl != nil {
			return ctl
		}
		return err
	}}
	return lc.ListenPacket(context.Background(), "udp4", "")
}

func sendOnDevice(device, to string) error {
	c, err := socketOnDevice(device)
	if err != nil {
		return err
	}
	defer c.Close()
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return err
	}
	_, err = c.WriteTo([]byte("x"), addr)
	return err
}

// ways are all the ways in which a router makes a frame leave through its WAN.
func ways(t *testing.T, b *bench, lan *nstest.NS) map[string]func() error {
	gw := net.HardwareAddr(nil)
	b.isp.Do(t, func() error {
		ifi, err := net.InterfaceByName("isp0")
		gw = ifi.HardwareAddr
		return err
	})
	ip(t, "neigh", "replace", gatewayIP.String(), "lladdr", gw.String(), "dev", "wan")
	fromISP := func(data []byte) func() error {
		return func() (err error) {
			b.isp.Do(t, func() error { return inject("isp0", data) })
			return nil
		}
	}
	unknown := 100
	who := arp{op: arpRequest, senderMAC: gw, senderIP: gatewayIP, targetMAC: make(net.HardwareAddr, 6), targetIP: wanIP}
	return map[string]func() error{
		"socket bound to the device, to the gateway":  func() error { return sendOnDevice("wan", "198.51.100.1:9") },
		"socket bound to the device, to the internet": func() error { return sendOnDevice("wan", "203.0.113.9:9") },
		"socket bound to the device, broadcast":       func() error { return sendOnDevice("wan", "255.255.255.255:67") },
		"socket bound to the device, multicast":       func() error { return sendOnDevice("wan", "239.1.2.3:9") },
		"socket bound to the address": func() error {
			c, err := net.DialUDP("udp4", &net.UDPAddr{IP: wanIP.AsSlice()}, &net.UDPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 9})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		},
		"resolving an unknown neighbour": func() error {
			unknown++ // a failed resolution is not tried again at once
			return sendOnDevice("wan", fmt.Sprintf("198.51.100.%d:9", unknown))
		},
		"tcp connection": func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			c, err := new(net.Dialer).DialContext(ctx, "tcp4", "203.0.113.9:80")
			if err == nil {
				c.Close()
			}
			return nil
		},
		"joining a multicast group": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd) // leaves the group, which is said at once
			ifi, err := net.InterfaceByName("wan")
			if err != nil {
				return err
			}
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: [4]byte{239, 1, 2, 4}, Ifindex: int32(ifi.Index)})
		},
		"packet socket": func() error {
			return inject("wan", ipv4Frame(gw, shared, wanIP, gatewayIP, unix.IPPROTO_UDP, udp(9)))
		},
		"announcement": func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			_ = b.Announce(ctx, "wan", wanIP, shared)
			return nil
		},
		"reply to ARP":       fromISP(who.frame()),
		"reply to ping":      fromISP(ipv4Frame(shared, gw, gatewayIP, wanIP, unix.IPPROTO_ICMP, echoRequest())),
		"reset to a SYN":     fromISP(ipv4Frame(shared, gw, gatewayIP, wanIP, unix.IPPROTO_TCP, tcpSYN(gatewayIP, wanIP, 81))),
		"port unreachable":   fromISP(ipv4Frame(shared, gw, gatewayIP, wanIP, unix.IPPROTO_UDP, udp(81))),
		"forwarded datagram": func() error { return forward(t, lan) },
	}
}

// forward has the LAN client send a datagram to the internet.
func forward(t *testing.T, lan *nstest.NS) error {
	lan.Do(t, func() error {
		c, err := net.Dial("udp4", "203.0.113.9:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
	return nil
}

// settle gives the other end of a cable the time to react, which another CPU
// may do: it is what has no event when the right outcome is that none comes.
const settle = 20 * time.Millisecond

func TestNothingLeavesAMuteLink(t *testing.T) {
	b := newBench(t)
	b.gateway()
	lan := b.withLAN()
	for _, s := range []string{"icmp_ratelimit", "icmp_msgs_burst"} {
		setSysctl(t, "net/ipv4/"+s, map[string]string{"icmp_ratelimit": "0", "icmp_msgs_burst": "1000"}[s])
	}
	d := lease("198.51.100.7/24")
	b.apply(d)
	out := newTap(t, "port0", true)
	// speak uses one way and counts the frames that leave, with whatever MAC.
	speak := func(way func() error) int {
		if err := way(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for end := time.Now().Add(settle); ; time.Sleep(time.Millisecond) {
			n += len(out.take())
			if n > 0 || time.Now().After(end) {
				return n
			}
		}
	}
	all := ways(t, b, lan)
	before := kernelState(t)

	for name, way := range all {
		if speak(way) == 0 {
			t.Errorf("%s: nothing left although the link is not mute: the test proves nothing", name)
		}
	}
	time.Sleep(settle)
	out.take()
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	for name, way := range all {
		if n := speak(way); n > 0 {
			t.Errorf("%s: %d frames left a mute link", name, n)
		}
	}
	if c := b.apply(d); len(c.Steps) != 1 || !c.Unmuted {
		t.Errorf("un-muting took %q", c.Steps)
	}
	if after := kernelState(t); after != before {
		t.Errorf("muting and un-muting left traces:\n%s\nbefore:\n%s", after, before)
	}
	for name, way := range all {
		if speak(way) == 0 {
			t.Errorf("%s: nothing left after un-muting", name)
		}
	}
}

// kernelState describes the configuration of the WAN: link, discipline,
// addresses, rules, routes of all tables, and every per-device setting.
func kernelState(t *testing.T) string {
	t.Helper()
	s := ip(t, "-d", "link", "show", "wan") + ip(t, "-o", "addr", "show", "wan", "to", "0.0.0.0/0", "scope", "host") +
		ip(t, "rule") + ip(t, "route", "show", "table", "all") + ip(t, "-br", "addr", "show", "wan")
	files, err := filepath.Glob("/proc/sys/net/ipv[46]/conf/wan/*")
	if err != nil || len(files) < 50 {
		t.Fatalf("settings of wan: %v, %d of them", err, len(files))
	}
	for _, f := range files {
		v, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, os.ErrPermission) { // stable_secret is unset, route/flush is write-only
			t.Fatal(err)
		}
		s += f + " " + string(v)
	}
	return s
}

// backlog is how long a frame that has left may lie in the queue of the other
// end, where its time is taken: on a busy machine that queue has to wait for its
// turn.
const backlog = 10 * time.Millisecond

func TestNothingIsInFlightAfterMute(t *testing.T) {
	b := newBench(t)
	b.gateway()
	d := lease("198.51.100.7/24")
	b.apply(d)
	// Permanent: the kernel keeps it when the carrier goes.
	ip(t, "neigh", "replace", gatewayIP.String(), "lladdr", "02:00:00:00:00:99", "dev", "wan", "nud", "permanent")
	out := newTap(t, "port0", true)
	var slowest time.Duration
	for range 10 {
		stop := make(chan struct{})
		var talkers sync.WaitGroup
		for range 1 {
			conn, err := socketOnDevice("wan")
			if err != nil {
				t.Fatal(err)
			}
			talkers.Go(func() {
				defer conn.Close()
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = conn.WriteTo([]byte("x"), &net.UDPAddr{IP: gatewayIP.AsSlice(), Port: 9})
					}
				}
			})
		}
		waitFor(t, "traffic with time stamps", func() bool {
			frames := out.take()
			return len(frames) > 0 && !frames[len(frames)-1].at.IsZero()
		})
		start := time.Now()
		err := b.Mute(t.Context(), wan)
		silent := time.Now()
		slowest = max(slowest, silent.Sub(start))
		time.Sleep(3 * backlog) // the talkers go on
		close(stop)
		talkers.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range out.take() {
			if f.at.IsZero() {
				t.Fatal("a frame without a time stamp")
			}
			if late := f.at.Sub(silent); late > backlog {
				t.Fatalf("a frame arrived %v after Mute had returned: %v", late, f)
			}
		}
		b.apply(d)
	}
	t.Logf("slowest Mute under load: %v", slowest)
}

func TestMuteIsFast(t *testing.T) {
	b := newBench(t)
	d := lease("198.51.100.7/24")
	b.apply(d)
	best := time.Hour
	for range 10 {
		start := time.Now()
		if err := b.Mute(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
		b.apply(d)
	}
	// The best of ten: the machine may be busy, the method must not be slow.
	if best > 5*time.Millisecond {
		t.Errorf("Mute took at least %v", best)
	}
	t.Logf("Mute: %v", best)
}

func TestMuteOfALink(t *testing.T) {
	b := newBench(t)
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Errorf("no link: %v", err)
	}
	b.apply(lease("198.51.100.7/24"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Mute(ended, wan); err != nil || !b.observe().Muted {
		t.Errorf("with an ended context: %v", err)
	}
	b.steps = nil
	if err := b.Mute(t.Context(), wan); err != nil || len(b.steps) > 0 {
		t.Errorf("mute already: %v, %q", err, b.steps)
	}
	ip(t, "link", "set", "wan", "down")
	if c := b.apply(lease("198.51.100.7/24")); !c.Unmuted {
		t.Errorf("mute and down: %q", c.Steps)
	}
	ip(t, "link", "set", "wan", "down")
	ip(t, "link", "set", "wan", "name", "moved")
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Error(err)
	}
	if l, err := b.nl.getLink("moved"); err != nil || !l.muted() {
		t.Errorf("a renamed link is not mute: %+v, %v", l, err)
	}
	ip(t, "link", "add", "link", "port0", "name", "wan", "type", "macvlan")
	if err := b.Mute(t.Context(), wan); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign link: %v", err)
	}
	ip(t, "link", "del", "wan")
	if ok, err := b.Purge(t.Context(), wan); !ok || err != nil {
		t.Errorf("purge of the renamed link: %v, %v", ok, err)
	}
}

func TestMuteWithoutPacketSchedulers(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	b.muteKind = "absent"
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	if b.observe().Up {
		t.Error("the link is still up")
	}
	if c := b.apply(lease("198.51.100.7/24")); !b.observe().Up || c.None() {
		t.Errorf("not raised again: %q", c.Steps)
	}
	if o := b.observe(); len(o.Routes) != 1 || len(o.Addresses) != 1 {
		t.Errorf("raised without its routes: %+v", o)
	}
}
