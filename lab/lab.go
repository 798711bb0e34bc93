package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Lab is a running network. There is one at a time in a process: the switches
// are in its network namespace.
type Lab struct {
	opt      Options
	addr     addresses
	ISP      *ISP
	Internet *Node
	Client   *Node
	routers  [2]*Router
}

// VIP is the virtual address.
func (l *Lab) VIP() netip.Addr { return l.addr.vip.Addr() }

// New builds the network: the ISP serves, the routers are up, keepalived is not
// running yet. Close it.
func New(ctx context.Context, o Options) (_ *Lab, err error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if !sandbox.Inside() {
		return nil, errors.New("lab: call lab.Main first")
	}
	l := &Lab{opt: o, addr: usual}
	if o.Bare {
		l.addr = documented
	}
	began := time.Now()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build lab: %w", err), l.Close())
		}
	}()
	for _, sw := range []string{switchISP, switchLAN, switchSync, switchNet} {
		if err := makeSwitch(sw); err != nil {
			return nil, err
		}
	}
	if err := l.makeNodes(); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(l.Internet.boot)
	g.Go(l.Client.boot)
	g.Go(func() error {
		if err := l.ISP.boot(); err != nil {
			return err
		}
		return l.ISP.StartServer(ctx, o.ISPServer)
	})
	for _, r := range l.routers {
		g.Go(func() error { return r.Boot(ctx) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	l.logf("lab is up after %d ms: %s, %s, %s as the ISP", time.Since(began).Milliseconds(), o.Scheme, o.Backend, o.ISPServer)
	return l, nil
}

func (l *Lab) logf(format string, arg ...any) { fmt.Fprintf(l.opt.Log, format+"\n", arg...) }

// Options of the lab, with its defaults filled in.
func (l *Lab) Options() Options { return l.opt }

// Router 0 or 1: ar0 has the higher priority.
func (l *Lab) Router(i int) *Router { return l.routers[i] }

// makeNodes describes the machines and fills their disks.
func (l *Lab) makeNodes() (err error) {
	mac := func(machine, iface byte) net.HardwareAddr { return net.HardwareAddr{0x02, 0x77, 0, 0, machine, iface} }
	gateway := netip.PrefixFrom(Gateway, WANPrefix.Bits()).String()
	isp, err := newNode(sandbox.Spec{Name: "isp"},
		jack{switchISP, "eth0", mac(1, 0), []string{gateway}},
		jack{switchNet, "eth1", mac(1, 1), []string{ispInside.String()}})
	if err != nil {
		return err
	}
	isp.sysctl = map[string]string{"net/ipv4/ip_forward": "1"}
	l.ISP = &ISP{Node: isp, lease: l.opt.Lease}
	l.Internet, err = newNode(sandbox.Spec{Name: "internet"},
		jack{switchNet, "eth0", mac(2, 0), []string{netip.PrefixFrom(InternetAddr, ispInside.Bits()).String()}})
	if err != nil {
		return err
	}
	l.Internet.setup = defaultVia(ispInside.Addr())
	l.Client, err = newNode(sandbox.Spec{Name: "client"},
		jack{switchLAN, "eth0", mac(3, 0), []string{netip.PrefixFrom(l.addr.client, l.addr.vip.Bits()).String()}})
	if err != nil {
		return err
	}
	l.Client.setup = defaultVia(l.addr.vip.Addr())
	for i := range l.routers {
		if l.routers[i], err = l.newRouter(i, mac); err != nil {
			return err
		}
	}
	return nil
}

func defaultVia(gw netip.Addr) func(*netlink.Handle) error {
	return func(h *netlink.Handle) error {
		if err := h.RouteAdd(&netlink.Route{Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("add default route via %s: %w", gw, err)
		}
		return nil
	}
}

// Close switches everything off. What it does not, the end of the process does.
func (l *Lab) Close() error {
	var errs error
	for _, r := range l.routers {
		if r != nil {
			errs = errors.Join(errs, r.powerOff(l))
		}
	}
	if l.ISP != nil {
		errs = errors.Join(errs, l.ISP.powerOff(l))
	}
	for _, n := range []*Node{l.Internet, l.Client} {
		if n != nil {
			errs = errors.Join(errs, n.powerOff(l))
		}
	}
	for _, sw := range []string{switchISP, switchLAN, switchSync, switchNet} {
		if br, err := netlink.LinkByName(sw); err == nil {
			errs = errors.Join(errs, netlink.LinkDel(br))
		}
	}
	return errs
}
