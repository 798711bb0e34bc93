package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/nstest"
)

const (
	ispIface = "isp0" // the ISP's switch, with the server's address on it
	parent   = "eth2"
	wanName  = "wan"
	shared   = "02:68:71:2e:62:67"
)

// limit is how long a case may take.
const limit = 60 * time.Second

// line is what one case runs in.
type line struct {
	t       *testing.T
	ctx     context.Context
	root    string // the image
	dir     string // of this line, in the image's /run
	kind    server
	isp     *nstest.NS
	kernel  *netlink.Handle // of the ISP
	daemon  *process        // the server
	service service
	routers []*router
}

// newLine makes a line without routers. The server does not run yet.
func newLine(t *testing.T, root string, kind server) *line {
	t.Helper()
	most := limit
	if *long {
		most += 2 * kind.shortest
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), most, errors.New("the case takes too long"))
	t.Cleanup(cancel)
	l := &line{t: t, ctx: ctx, root: root, kind: kind, isp: nstest.New(t)}
	dir, err := os.MkdirTemp(root+"/run", "line")
	if err != nil {
		t.Fatal(err)
	}
	l.dir = strings.TrimPrefix(dir, root)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.kernel = handle(t, l.isp)
	quiet(t, l.isp)
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: ispIface}}
	l.must(l.kernel.LinkAdd(br))
	l.must(l.kernel.LinkSetUp(br))
	// The rest of the ISP: a switch all of whose ports are down has no carrier
	// itself, and then some servers do not start.
	rest := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "rest0", MasterIndex: br.Attrs().Index}, PeerName: "rest1"}
	l.must(l.kernel.LinkAdd(rest))
	for _, name := range []string{"rest0", "rest1"} {
		p, err := l.kernel.LinkByName(name)
		l.must(err)
		l.must(l.kernel.LinkSetARPOff(p)) // or it would answer for the switch
		l.must(l.kernel.LinkSetUp(p))
	}
	l.eventually("the switch runs", 5*time.Second, func() bool {
		br, err := l.kernel.LinkByName(ispIface)
		return err == nil && br.Attrs().RawFlags&unix.IFF_RUNNING != 0
	})
	return l
}

// handle is for netlink in a namespace.
func handle(t *testing.T, ns *nstest.NS) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// quiet keeps the kernel's own IPv6 off the wire.
func quiet(t *testing.T, ns *nstest.NS) {
	t.Helper()
	ns.Do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644)
	})
}

func (l *line) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// eventually waits until cond holds, which it asks each 2 ms.
func (l *line) eventually(what string, limit time.Duration, cond func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeoutCause(l.ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("%s: %v", what, context.Cause(ctx))
		}
	}
}

// address gives the ISP this address and no other.
func (l *line) address(want netip.Prefix) {
	l.t.Helper()
	br, err := l.kernel.LinkByName(ispIface)
	l.must(err)
	have, err := l.kernel.AddrList(br, netlink.FAMILY_V4)
	l.must(err)
	for _, a := range have {
		if a.IPNet.String() != want.String() {
			l.must(l.kernel.AddrDel(br, &a))
		}
	}
	a, err := netlink.ParseAddr(want.String())
	l.must(err)
	l.must(l.kernel.AddrReplace(br, a))
}

// port67 tells whether somebody listens.
func (l *line) port67() bool {
	var table []byte
	l.isp.Do(l.t, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/udp")
		return err
	})
	return strings.Contains(string(table), ":0043 ")
}

// plug connects a router's parent with the switch.
func (l *line) plug(r *router) {
	l.t.Helper()
	br, err := l.kernel.LinkByName(ispIface)
	l.must(err)
	port := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: r.port, MasterIndex: br.Attrs().Index},
		PeerName:  parent, PeerNamespace: netlink.NsFd(r.ns.FD()),
	}
	l.must(l.kernel.LinkAdd(port))
	if r.wire != nil {
		_ = r.wire.Close() // its device is gone
	}
	l.isp.Do(l.t, func() error {
		r.wire, err = lab.Listen(r.port, nil)
		return err
	})
	l.must(l.kernel.LinkSetUp(port))
	p, err := r.kernel.LinkByName(parent)
	l.must(err)
	l.must(r.kernel.LinkSetUp(p))
}

// carrier cuts a router's cable or mends it.
func (l *line) carrier(r *router, up bool) {
	l.t.Helper()
	p, err := l.kernel.LinkByName(r.port)
	l.must(err)
	if up {
		l.must(l.kernel.LinkSetUp(p))
	} else {
		l.must(l.kernel.LinkSetDown(p))
	}
}
