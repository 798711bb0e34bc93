package matrix

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// lan gives the router another network, over a device of this name.
func (r *router) lan(device, addr string) {
	r.t.Helper()
	l, err := r.kernel.LinkByName(device)
	if err != nil {
		r.must(r.kernel.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: device}}))
		l, err = r.kernel.LinkByName(device)
		r.must(err)
		r.must(r.kernel.LinkSetUp(l))
	}
	a, err := netlink.ParseAddr(addr)
	r.must(err)
	r.must(r.kernel.AddrAdd(l, a))
}

// routes lists the destinations that the kernel reaches over the WAN, but for its
// own network.
func (r *router) routes() (all []string) {
	r.t.Helper()
	link, err := r.kernel.LinkByName(wanName)
	r.must(err)
	list, err := r.kernel.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_OIF)
	r.must(err)
	for _, route := range list {
		switch {
		case route.Protocol == unix.RTPROT_KERNEL:
		case route.Dst == nil:
			all = append(all, "default")
		default:
			all = append(all, strings.Replace(route.Dst.String(), "0.0.0.0/0", "default", 1))
		}
	}
	slices.Sort(all)
	return all
}

func (r *router) warnings() []string {
	r.t.Helper()
	c, err := control.Dial(r.ctx, rundir.At(r.dir))
	r.must(err)
	defer c.Close()
	var rep control.Report
	r.must(c.Ask(r.ctx, control.Request{Op: control.OpStatus}, &rep))
	return rep.Warnings
}

// testOtherNetworks: a server that wants the LAN's, the peer's and the link's
// packets, a multicast route and the name service of the router itself, and that
// splits the default route, gets none of it. Its own networks are used.
func testOtherNetworks(l *line) {
	const gw = "100.64.10.1"
	s := usual(time.Hour)
	unwanted := []string{
		"192.168.10.0/25", "192.168.10.128/25", "192.168.10.3/32", "10.255.0.0/30", "10.77.5.0/24",
		"0.0.0.0/1", "128.0.0.0/1", "224.0.0.0/4",
	}
	routes := "--dhcp-option=121,10.0.0.0/8," + gw
	for _, dst := range unwanted {
		routes += "," + dst + "," + gw
	}
	s.extra = []string{routes, "--dhcp-option=6,192.168.10.2,100.64.10.1"}
	l.serve(s)
	r := l.router()
	r.lan("lan0", "192.168.10.2/24")
	r.lan("link0", "10.255.0.1/30")
	lan, err := r.kernel.LinkByName("lan0")
	l.must(err)
	_, elsewhere, err := net.ParseCIDR("10.77.0.0/16")
	l.must(err)
	l.must(r.kernel.RouteAdd(&netlink.Route{LinkIndex: lan.Attrs().Index, Dst: elsewhere, Gw: []byte{192, 168, 10, 9}}))
	r.become(intent.Primary)
	r.holdsLease(time.Second)
	if got, want := r.routes(), []string{"10.0.0.0/8", "default"}; !slices.Equal(got, want) {
		l.t.Errorf("routes over the WAN %q, want %q", got, want)
	}
	for dst, device := range map[string]string{"192.168.10.3": "lan0", "10.255.0.2": "link0", "10.77.5.5": "lan0", "10.1.1.1": wanName} {
		way, err := r.kernel.RouteGet(netip.MustParseAddr(dst).AsSlice())
		if err != nil || len(way) != 1 {
			l.t.Fatalf("route to %s: %v, %v", dst, way, err)
		}
		dev, err := r.kernel.LinkByIndex(way[0].LinkIndex)
		l.must(err)
		if dev.Attrs().Name != device {
			l.t.Errorf("packets to %s leave by %s", dst, dev.Attrs().Name)
		}
	}
	if w := r.status(); len(w.DNS) != 1 || w.DNS[0].String() != gw {
		l.t.Errorf("name servers %v", w.DNS)
	}
	told, logged := strings.Join(r.warnings(), "\n"), r.keeper.output()
	for _, what := range append(unwanted[:6:6], "name server 192.168.10.2") {
		if !strings.Contains(told, what) {
			l.t.Errorf("status does not tell of %s: %s", what, told)
		}
		if !strings.Contains(logged, "left out of the lease: route to "+what) && !strings.Contains(logged, "left out of the lease: "+what) {
			l.t.Errorf("the log does not tell of %s", what)
		}
	}
}

// testOtherAddress: the server leases an address of the LAN: first while nothing
// is held, then the LAN gets the network of the address that is held.
func testOtherAddress(l *line) {
	s := usual(time.Hour)
	l.serve(s.in("192.168.10.1/24", "192.168.10.3", "192.168.10.9"))
	r := l.router()
	r.lan("lan0", "192.168.10.2/24")
	if out, err := r.command("primary", "--wait", "100ms"); err == nil {
		l.t.Errorf("primary without a lease is fine: %s", out)
	}
	w := r.until("conflict", 10*time.Second, func(w control.WAN) bool { return w.Diagnosis == "conflict" })
	if w.Address.IsValid() || !strings.Contains(w.Detail, "network of lan0") || r.holds().addr.IsValid() {
		l.t.Errorf("status %+v, the kernel holds %+v", w, r.holds())
	}
	if out, err := r.command("status"); !strings.Contains(strings.Join(strings.Fields(out), " "), "network of lan0") {
		l.t.Errorf("status: %v: %s", err, out)
	}
	if slices.Contains(r.phases(0), "REQUEST selecting") {
		l.t.Errorf("sent %q", r.phases(0))
	}
	l.halt()
	l.serve(s)
	r.until("bound", 30*time.Second, bound)
	r.holdsLease(time.Second)

	r.lan("lan0", fmt.Sprintf("%v/24", s.first))
	l.must(unix.Kill(r.keeper.cmd.Process.Pid, unix.SIGHUP)) // or within 15 s
	r.until("conflict", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis == "conflict" && !w.Address.IsValid() })
	if h := r.holds(); h.addr.IsValid() || h.gateway.IsValid() {
		l.t.Errorf("the kernel holds %+v", h)
	}
}

// testMTU: what the lease says, up to the parent's, or what the configuration says.
func testMTU(l *line) {
	for _, c := range []struct {
		given, parent int
		option        string
		want          int
	}{
		{9000, 9000, "", 9000},
		{9000, 1492, "", 1492},
		{1492, 1500, "", 1492},
		{576, 1500, "option mtu 1500", 1500},
		{1500, 1500, "option mtu 1492", 1492},
		{576, 1500, "option mtu auto", 576},
	} {
		s := usual(time.Hour)
		s.extra = []string{fmt.Sprintf("--dhcp-option-force=26,%d", c.given)}
		l.serve(s)
		r := l.host()
		p, err := r.kernel.LinkByName(parent)
		l.must(err)
		l.must(r.kernel.LinkSetMTU(p, c.parent))
		r.configure(c.option)
		r.keep()
		r.become(intent.Primary)
		r.holdsLease(time.Second)
		wan, err := r.kernel.LinkByName(wanName)
		l.must(err)
		if got := wan.Attrs().MTU; got != c.want {
			l.t.Errorf("lease %d, parent %d, %q: MTU %d, want %d", c.given, c.parent, c.option, got, c.want)
		}
		r.become(intent.Backup)
		l.halt()
	}
}
