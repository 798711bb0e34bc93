package netif

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// EnsureBackupDefault gives a backup a default route through gateway, normally
// the VIP that the master holds on the LAN, so that it can resolve names and
// update itself. The device is the one on which the kernel reaches gateway; it
// must be a neighbour there. A route of ours through another gateway or with
// another metric is removed, after the new one is in place. It reports whether
// anything changed.
//
// Its metric should be higher than that of the WANs' routes: while a mute WAN
// still exists, packets of its sessions must not find another way out (see the
// package comment).
func (m *Manager) EnsureBackupDefault(ctx context.Context, gateway netip.Addr, metric int) (bool, error) {
	r := Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gateway, Metric: metric}
	if !gateway.IsValid() {
		return false, fmt.Errorf("add backup default route: no gateway")
	}
	if err := r.validate(); err != nil {
		return false, fmt.Errorf("add backup default route: %w", err)
	}
	defer m.lock("")() // no link has that name
	index, err := m.nl.neighbourDevice(gateway)
	if err != nil {
		return false, fmt.Errorf("add backup default route via %s: %w", gateway, err)
	}
	have, err := m.nl.listRoutes(0, BackupProtocol)
	if err != nil {
		return false, err
	}
	want := kernelRoute(r, index, BackupProtocol)
	changed, there := false, false
	for _, h := range have {
		there = there || h == want
	}
	if !there {
		err := m.write(ctx, "add backup route", want.public().String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, want.message(false)...)
		if err != nil {
			return false, err
		}
		changed = true
	}
	for _, h := range have {
		if h != want {
			if err := m.deleteBackup(ctx, h); err != nil {
				return changed, err
			}
			changed = true
		}
	}
	return changed, nil
}

// RemoveBackupDefault removes what EnsureBackupDefault added. It reports
// whether there was anything.
func (m *Manager) RemoveBackupDefault(ctx context.Context) (bool, error) {
	defer m.lock("")()
	have, err := m.nl.listRoutes(0, BackupProtocol)
	if err != nil {
		return false, err
	}
	for i, h := range have {
		if err := m.deleteBackup(ctx, h); err != nil {
			return i > 0, err
		}
	}
	return len(have) > 0, nil
}

// BackupDefaults lists what EnsureBackupDefault added.
func (m *Manager) BackupDefaults(context.Context) (routes []Route, err error) {
	have, err := m.nl.listRoutes(0, BackupProtocol)
	for _, r := range have {
		routes = append(routes, r.public())
	}
	return routes, err
}

func (m *Manager) deleteBackup(ctx context.Context, r route) error {
	err := m.write(ctx, "delete backup route", r.public().String(), unix.RTM_DELROUTE, 0, r.message(false)...)
	if gone(err) {
		return nil
	}
	return err
}

// neighbourDevice finds the device on whose link addr is.
func (c *conn) neighbourDevice(addr netip.Addr) (int, error) {
	msgs, err := c.do(unix.RTM_GETROUTE, 0,
		&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Dst_len: 32}},
		nl.NewRtAttr(unix.RTA_DST, addr.AsSlice()))
	if err != nil {
		return 0, fmt.Errorf("look up route: %w", err)
	}
	if len(msgs) == 0 || len(msgs[0]) < unix.SizeofRtMsg {
		return 0, fmt.Errorf("look up route: empty answer")
	}
	// The answer describes a cached route, which parseRoute passes over.
	r, _ := parseRoute(msgs[0])
	switch {
	case r.kind == unix.RTN_LOCAL:
		return 0, fmt.Errorf("it is this router's own address")
	case r.kind != unix.RTN_UNICAST || r.oif == 0:
		return 0, fmt.Errorf("no route to it")
	case r.gateway.IsValid():
		return 0, fmt.Errorf("it is not a neighbour, but behind %s", r.gateway)
	}
	return r.oif, nil
}
