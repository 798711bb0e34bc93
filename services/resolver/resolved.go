//go:build !nosystemd

package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

func systemdBackends() []backend {
	return []backend{resolved{socket: "/run/dbus/system_bus_socket"}}
}

// resolved is systemd-resolved, org.freedesktop.resolve1(5). What it is told
// belongs to the link's index and goes with the link.
type resolved struct{ socket string }

const resolve1 = "org.freedesktop.resolve1"

func (resolved) String() string { return "systemd-resolved" }

// usable reports whether resolved runs. It is not started for our sake: the bus
// would do that for any call.
func (r resolved) usable(ctx context.Context) bool {
	running := false
	err := r.talk(ctx, func(c *dbus.Conn) error {
		return c.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, resolve1).Store(&running)
	})
	return err == nil && running
}

// The arguments of SetLinkDNS and SetLinkDomains.
type (
	linkDNS struct {
		Family  int32
		Address []byte
	}
	linkDomain struct {
		Name      string
		RouteOnly bool
	}
)

func (r resolved) set(ctx context.Context, link string, servers []netip.Addr, search []string) error {
	index, err := linkIndex(link)
	if err != nil {
		return err
	}
	dns := make([]linkDNS, 0, len(servers))
	for _, s := range servers {
		s = s.Unmap()
		family := int32(unix.AF_INET)
		if s.Is6() {
			family = unix.AF_INET6
		}
		dns = append(dns, linkDNS{family, s.AsSlice()})
	}
	domains := make([]linkDomain, 0, len(search))
	for _, d := range search {
		domains = append(domains, linkDomain{Name: d})
	}
	return r.talk(ctx, func(c *dbus.Conn) error {
		if err := call(ctx, c, "SetLinkDNS", index, dns); err != nil {
			return err
		}
		return call(ctx, c, "SetLinkDomains", index, domains)
	})
}

func (r resolved) revert(ctx context.Context, link string) error {
	index, err := linkIndex(link)
	if errors.Is(err, errNoLink) {
		return nil // and so resolved has forgotten it
	}
	if err != nil {
		return err
	}
	err = r.talk(ctx, func(c *dbus.Conn) error { return call(ctx, c, "RevertLink", index) })
	var answer dbus.Error
	if errors.As(err, &answer) && answer.Name == resolve1+".NoSuchLink" {
		return nil
	}
	return err
}

func call(ctx context.Context, c *dbus.Conn, method string, args ...any) error {
	o := c.Object(resolve1, "/org/freedesktop/resolve1")
	if err := o.CallWithContext(ctx, resolve1+".Manager."+method, dbus.FlagNoAutoStart, args...).Err; err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

var errNoLink = errors.New("no such link")

func linkIndex(link string) (int32, error) {
	req, err := unix.NewIfreq(link)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", link, err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", link, err)
	}
	defer unix.Close(s)
	switch err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, req); {
	case errors.Is(err, unix.ENODEV):
		return 0, fmt.Errorf("%w: %s", errNoLink, link)
	case err != nil:
		return 0, fmt.Errorf("find link %s: %w", link, err)
	}
	return int32(req.Uint32()), nil
}

// talkLimit bounds one conversation with the bus.
const talkLimit = 2 * time.Second

// talk connects to the system bus for the length of f. Leases change rarely: a
// connection that is kept would have to be watched instead.
func (r resolved) talk(ctx context.Context, f func(*dbus.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, talkLimit, fmt.Errorf("no answer within %v", talkLimit))
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", r.socket)
	if err != nil {
		return fmt.Errorf("reach the system bus: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := dbus.NewConn(raw)
	if err != nil {
		_ = raw.Close()
		return fmt.Errorf("reach the system bus: %w", err)
	}
	defer c.Close()
	err = c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = c.Hello()
	}
	if err == nil {
		err = f(c)
	} else {
		err = fmt.Errorf("reach the system bus: %w", err)
	}
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}
