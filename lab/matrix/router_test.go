package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/nstest"
)

// router is one of the routers of a line, with the built binary.
type router struct {
	*line
	ns     *nstest.NS
	kernel *netlink.Handle
	dir    string // its run directory
	port   string // of the switch
	wire   *lab.Capture
	addrs  addrLog
	keeper *process
	marks  int
}

// router adds one, with a running keeper. extra are further lines of the WAN's
// section.
func (l *line) router(extra ...string) *router {
	l.t.Helper()
	r := l.host()
	r.configure(extra...)
	r.keep()
	return r
}

// configure writes the configuration.
func (r *router) configure(extra ...string) {
	r.t.Helper()
	conf := "config wanfail\n list service none\n option conntrackd 0\nconfig wan " + wanName + "\n" +
		" option parent " + parent + "\n option macaddr " + shared + "\n"
	for _, line := range extra {
		conf += " " + line + "\n"
	}
	r.must(os.WriteFile(r.config(), []byte(conf), 0o600))
}

// host adds a router that runs nothing yet.
func (l *line) host() *router {
	l.t.Helper()
	dir, err := os.MkdirTemp("/run", "router")
	l.must(err)
	r := &router{line: l, ns: nstest.New(l.t), dir: dir, port: fmt.Sprintf("port%d", len(l.routers))}
	l.routers = append(l.routers, r)
	r.kernel = handle(l.t, r.ns)
	quiet(l.t, r.ns)
	l.plug(r)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			r.explain()
		}
		_ = r.wire.Close()
	})
	l.must(r.addrs.follow(l, r.ns))
	return r
}

func (r *router) config() string { return filepath.Join(r.dir, "wanfail.conf") }

func (r *router) args(command ...string) []string {
	return append([]string{os.Getenv(envBinary), "--config", r.config(), "--run-dir", r.dir, "--log-level", "debug"}, command...)
}

// keep starts the keeper.
func (r *router) keep() {
	r.t.Helper()
	r.keeper = start(r.t, r.ns, nil, r.args("keeper")...)
	r.eventually("the keeper listens", 10*time.Second, func() bool {
		c, err := control.Dial(r.ctx, rundir.At(r.dir))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// command runs wanfail to its end.
func (r *router) command(command ...string) (string, error) {
	argv := r.args(command...)
	out, err := r.ns.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// become makes the router primary or backup, as a hook does.
func (r *router) become(role intent.Role) {
	r.t.Helper()
	if out, err := r.command(role.String(), "--wait", "20s"); err != nil {
		r.t.Fatalf("%s: wanfail %s: %v\n%s", r.port, role, err, out)
	}
}

// status is what the keeper says of the WAN.
func (r *router) status() control.WAN {
	r.t.Helper()
	c, err := control.Dial(r.ctx, rundir.At(r.dir))
	r.must(err)
	defer c.Close()
	var rep control.Report
	r.must(c.Ask(r.ctx, control.Request{Op: control.OpStatus}, &rep))
	if len(rep.WANs) != 1 {
		r.t.Fatalf("status %+v", rep)
	}
	return rep.WANs[0]
}

// until waits for a status, of which the keeper tells each change.
func (r *router) until(what string, limit time.Duration, match func(control.WAN) bool) control.WAN {
	r.t.Helper()
	ctx, cancel := context.WithTimeoutCause(r.ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	c, err := control.Dial(ctx, rundir.At(r.dir))
	r.must(err)
	defer c.Close()
	var rep control.Report
	for err = c.Ask(ctx, control.Request{Op: control.OpWatch}, &rep); err == nil; {
		if len(rep.WANs) == 1 && match(rep.WANs[0]) {
			return rep.WANs[0]
		}
		rep = control.Report{}
		err = c.Next(ctx, &rep)
	}
	r.t.Fatalf("%s: %v; last: %+v", what, err, r.status())
	return control.WAN{}
}

// holding is what the kernel has on the WAN.
type holding struct {
	index   int
	addr    netip.Prefix // zero unless there is exactly one
	valid   int          // seconds
	gateway netip.Addr   // of the default route
}

func (r *router) holds() (h holding) {
	link, err := r.kernel.LinkByName(wanName)
	if err != nil {
		return h
	}
	h.index = link.Attrs().Index
	if addrs, err := r.kernel.AddrList(link, netlink.FAMILY_V4); err == nil && len(addrs) == 1 {
		h.addr, h.valid = netip.MustParsePrefix(addrs[0].IPNet.String()), addrs[0].ValidLft
	}
	routes, err := r.kernel.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: h.index}, netlink.RT_FILTER_OIF)
	if err != nil {
		return h
	}
	for _, route := range routes {
		if route.Gw != nil && (route.Dst == nil || route.Dst.IP.IsUnspecified()) {
			h.gateway, _ = netip.AddrFromSlice(route.Gw.To4())
		}
	}
	return h
}

// leased is a primary with a lease of s.
func (l *line) leased(s service) (*router, netip.Prefix) {
	l.t.Helper()
	l.serve(s)
	r := l.router()
	r.become(intent.Primary)
	return r, r.holdsLease(time.Second)
}

// holdsLease waits until the kernel holds an address of the service with the
// default route, and checks it.
func (r *router) holdsLease(limit time.Duration) netip.Prefix {
	r.t.Helper()
	s := r.service
	var h holding
	r.eventually("address of the pool with default route", limit, func() bool {
		h = r.holds()
		a := h.addr.Addr()
		return h.addr.IsValid() && a.Compare(s.first) >= 0 && a.Compare(s.last) <= 0 && h.gateway == s.addr.Addr()
	})
	if h.addr.Bits() != s.addr.Bits() || h.valid < 1 || h.valid > int(s.lease/time.Second) {
		r.t.Errorf("the kernel holds %+v of a lease of %v", h, s.lease)
	}
	return h.addr
}

// etherMark is the EtherType of frames that mean nothing (IEEE 802, local
// experimental).
const etherMark = 0x88b5

// settle returns once all frames that are on the wire by now are in the capture.
func (r *router) settle() {
	r.t.Helper()
	r.marks++
	mark := make([]byte, 60)
	copy(mark, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, etherMark >> 8, etherMark & 0xff, byte(r.marks)})
	say := func() {
		r.isp.Do(r.t, func() error {
			port, err := net.InterfaceByName(r.port)
			if err != nil {
				return err
			}
			c, err := packet.Listen(port, packet.Raw, 0, nil)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.WriteTo(mark, &packet.Addr{HardwareAddr: mark[:6]})
			if errors.Is(err, unix.ENETDOWN) {
				return nil
			}
			return err
		})
	}
	// A port that is not up yet, or has no carrier, swallows it.
	for {
		say()
		ctx, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
		_, err := r.wire.Wait(ctx, func(f lab.Frame) bool { return bytes.Equal(f.Data, mark) })
		cancel()
		if err == nil {
			return
		}
		if r.ctx.Err() != nil {
			r.t.Fatal(err)
		}
	}
}

// sent are the DHCP messages of the router so far, with their frames.
func (r *router) sent() (all []message) {
	r.t.Helper()
	r.settle()
	for _, f := range r.wire.Frames(func(f lab.Frame) bool { return f.FromMachine }) {
		if m, ok := f.DHCP(); ok {
			all = append(all, message{f, m})
		}
	}
	return all
}

// message is a DHCP message on the wire.
type message struct {
	lab.Frame
	m *dhcpv4.DHCPv4
}

// phase names a message by the state of RFC 2131 that it is sent in (4.3.2).
func (m message) phase() string {
	switch kind := m.m.MessageType(); {
	case kind != dhcpv4.MessageTypeRequest:
		return kind.String()
	case m.m.ServerIdentifier() != nil:
		return "REQUEST selecting"
	case m.m.ClientIPAddr.IsUnspecified():
		return "REQUEST init-reboot"
	case m.Dst()[0]&1 == 0:
		return "REQUEST renewing"
	default:
		return "REQUEST rebinding"
	}
}

// phases are the messages sent since an earlier count of them.
func (r *router) phases(since int) (names []string) {
	for _, m := range r.sent()[since:] {
		names = append(names, m.phase())
	}
	return names
}

// exchanges is phases without repetitions: a switch's port that has just come up
// may lose the first packet.
func (r *router) exchanges(since int) (names []string) {
	var last message
	for _, m := range r.sent()[since:] {
		if last.m == nil || m.phase() != last.phase() || m.m.TransactionID != last.m.TransactionID {
			names = append(names, m.phase())
		}
		last = m
	}
	return names
}

// answers waits for the n-th DHCP message of a kind to the router.
func (r *router) answers(kind dhcpv4.MessageType, n int, limit time.Duration) message {
	r.t.Helper()
	ctx, cancel := context.WithTimeoutCause(r.ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	var got message
	_, err := r.wire.Wait(ctx, func(f lab.Frame) bool {
		if f.FromMachine {
			return false
		}
		m, ok := f.DHCP()
		if !ok || m.MessageType() != kind || m.ClientHWAddr.String() != shared {
			return false
		}
		got = message{f, m}
		n--
		return n == 0
	})
	if err != nil {
		r.t.Fatalf("%s: %v", kind, err)
	}
	return got
}

// count is how many DHCP messages of a kind have come to the router so far.
func (r *router) count(kind dhcpv4.MessageType) (n int) {
	r.t.Helper()
	r.settle()
	for _, f := range r.wire.Frames(func(f lab.Frame) bool { return !f.FromMachine }) {
		if m, ok := f.DHCP(); ok && m.MessageType() == kind {
			n++
		}
	}
	return n
}

// explain shows everything that was on the wire.
func (r *router) explain() {
	var b bytes.Buffer
	for _, f := range r.wire.Frames(func(f lab.Frame) bool { return !bytes.Equal(f.Data[12:14], []byte{etherMark >> 8, etherMark & 0xff}) }) {
		arrow := "<-"
		if f.FromMachine {
			arrow = "->"
		}
		text := f.String()
		if m, ok := f.DHCP(); ok && f.FromMachine {
			text = "DHCP " + message{f, m}.phase()
		}
		fmt.Fprintf(&b, "%s %s %s\n", f.At.Format("15:04:05.000000"), arrow, text)
	}
	r.t.Logf("the wire at %s:\n%s", r.port, b.String())
	r.t.Logf("addresses of %s:\n%s", r.port, r.addrs.String())
}

// addrLog are the changes of addresses of a router.
type addrLog struct {
	mu  sync.Mutex
	all []addrChange
}

type addrChange struct {
	at    time.Time
	addr  string
	added bool
	valid int
}

func (a *addrLog) follow(l *line, ns *nstest.NS) error {
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	handle := netns.NsHandle(ns.FD())
	if err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{Namespace: &handle}); err != nil {
		return err
	}
	l.t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			if u.LinkAddress.IP.To4() == nil {
				continue
			}
			a.mu.Lock()
			a.all = append(a.all, addrChange{time.Now(), u.LinkAddress.String(), u.NewAddr, u.ValidLft})
			a.mu.Unlock()
		}
	}()
	return nil
}

// changes are those since an earlier count of them.
func (a *addrLog) changes(since int) []addrChange {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]addrChange(nil), a.all[since:]...)
}

// removed are the addresses that went since an earlier count.
func (a *addrLog) removed(since int) (gone []addrChange) {
	for _, c := range a.changes(since) {
		if !c.added {
			gone = append(gone, c)
		}
	}
	return gone
}

func (a *addrLog) String() string {
	var b bytes.Buffer
	for _, c := range a.changes(0) {
		fmt.Fprintf(&b, "%s %s added=%v valid=%d\n", c.at.Format("15:04:05.000000"), c.addr, c.added, c.valid)
	}
	return b.String()
}
