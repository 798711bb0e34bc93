package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RaiseParent sets the parent of a link up where nobody else does, without a
// frame: IPv6 is switched off on it first, or the kernel would send neighbour
// discovery and multicast reports from the parent's own MAC. A VRRP daemon that
// tracks the parent needs it up on a backup as well.
//
// A parent that somebody has configured (it has an address, or is a port of a
// bridge or bond) is left alone. So is the one with the index known, 0 for none,
// which the caller has passed here before: a parent that a person sets down later
// stays down. index is that of the parent now, 0 if it does not exist.
func (m *Manager) RaiseParent(ctx context.Context, l Link, known int) (index int, raised bool, err error) {
	if err := l.validate(); err != nil {
		return 0, false, err
	}
	p, err := m.nl.getLink(l.Parent)
	switch {
	case errors.Is(err, ErrNoLink):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case p.index == known || p.up() || p.hardware != arphrdEther || p.flags&unix.IFF_LOOPBACK != 0:
		return p.index, false, nil
	}
	bare, err := m.bare(&p)
	if err != nil || !bare {
		return p.index, false, err
	}
	if p.arpIgnore == 0 {
		err = m.quietParent(ctx, &p)
	}
	if err == nil {
		err = m.setParentUp(ctx, &p)
	}
	if err != nil {
		return 0, false, err
	}
	return p.index, true, nil
}

// setParentUp sets a parent up, and one without addresses of its own silently.
func (m *Manager) setParentUp(ctx context.Context, p *link) error {
	if bare, err := m.bare(p); err == nil && bare && p.ipv6.present && !p.ipv6.disabled {
		if err := m.silenceIPv6(ctx, p); err != nil {
			return err
		}
	}
	return m.setUp(ctx, "set up parent", p)
}

// bare reports whether nobody has configured a device.
func (m *Manager) bare(p *link) (bool, error) {
	if p.master != 0 {
		return false, nil
	}
	// Those of the kernel's own making are not there while the device is down.
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := m.nl.dump(unix.RTM_GETADDR, &nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: family, Index: uint32(p.index)}})
		if err != nil {
			return false, fmt.Errorf("list addresses of %s: %w", p.name, err)
		}
		for _, msg := range msgs {
			if len(msg) >= unix.SizeofIfAddrmsg && msg[0] == family && binary.NativeEndian.Uint32(msg[4:]) == uint32(p.index) {
				return false, nil
			}
		}
	}
	return true, nil
}
