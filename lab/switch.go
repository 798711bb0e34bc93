package lab

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Port is one port of a switch, named SWITCH-MACHINE. It can be cut, plugged and
// listened to.
type Port string

// Switches.
const (
	switchISP  = "isp"
	switchLAN  = "lan"
	switchSync = "sync"
	switchNet  = "net"
)

func portOf(sw, machine string) Port { return Port(sw + "-" + machine) }

// makeSwitch creates a bridge in the lab's own namespace that only forwards:
// nothing of its own is ever on the wire.
func makeSwitch(name string) error {
	for _, path := range []string{"all", "default"} {
		at := "/proc/sys/net/ipv6/conf/" + path + "/disable_ipv6"
		if err := os.WriteFile(at, []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	snooping := false // VRRP and SSDP are multicast, and there is no querier
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("add switch %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return fmt.Errorf("set switch %s up: %w", name, err)
	}
	return nil
}

// jack is a network interface of a machine and what it is plugged into.
type jack struct {
	sw    string
	iface string
	mac   net.HardwareAddr
	addrs []string // with prefix length
}

// plug connects a machine with a switch: with a cable, if there is one. A bare
// machine sets the interface up itself.
func plug(m *sandbox.Machine, machine string, j jack, cable, bare bool) error {
	port := string(portOf(j.sw, machine))
	br, err := netlink.LinkByName(j.sw)
	if err != nil {
		return fmt.Errorf("find switch %s: %w", j.sw, err)
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: port, MasterIndex: br.Attrs().Index, TxQLen: 1000},
		PeerName:         j.iface,
		PeerHardwareAddr: j.mac,
		PeerNamespace:    netlink.NsFd(m.NetNS()),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add %s: %w", port, err)
	}
	if cable {
		if err := netlink.LinkSetUp(veth); err != nil {
			return fmt.Errorf("set %s up: %w", port, err)
		}
	}
	return withHandle(m.NetNS(), func(h *netlink.Handle) error {
		l, err := h.LinkByName(j.iface)
		if err != nil {
			return fmt.Errorf("find %s: %w", j.iface, err)
		}
		if bare {
			return nil
		}
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", j.iface, err)
		}
		for _, a := range j.addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if err := h.AddrAdd(l, addr); err != nil {
				return fmt.Errorf("add %s to %s: %w", a, j.iface, err)
			}
		}
		return nil
	})
}

func withHandle(ns netns.NsHandle, f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(ns, 0)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	return f(h)
}

// Cut pulls the plug: the machine at the other end loses its carrier.
func (l *Lab) Cut(ports ...Port) error {
	return forPorts(ports, func(p netlink.Link) error { return netlink.LinkSetDown(p) })
}

// Plug undoes Cut.
func (l *Lab) Plug(ports ...Port) error {
	return forPorts(ports, func(p netlink.Link) error { return netlink.LinkSetUp(p) })
}

// unplug deletes ports, and with them the interfaces of the machine, where they
// still are.
func unplug(ports []Port) error {
	var errs error
	for _, p := range ports {
		link, err := netlink.LinkByName(string(p))
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil && !errors.Is(err, unix.ENODEV) {
			errs = errors.Join(errs, fmt.Errorf("unplug port %s: %w", p, err))
		}
	}
	return errs
}

func forPorts(ports []Port, f func(netlink.Link) error) error {
	var errs error
	for _, p := range ports {
		link, err := netlink.LinkByName(string(p))
		if err == nil {
			err = f(link)
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("port %s: %w", p, err))
		}
	}
	return errs
}
