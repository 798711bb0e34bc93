package netif

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The backup's default route lies in a table of its own, which two rules lead
// to. They apply to packets that this router itself sends, for which the kernel
// has "iif lo": a forwarded packet never finds the route.
const (
	// BackupTable is the routing table of the backup's default route: the same
	// letters as in Group. Others take small numbers (mwan3 1 to 250, strongSwan
	// 220), and 52 (tailscale), 51820 (WireGuard) or 5182x.
	BackupTable = 0x77616e66
	// BackupPriority is the priority of the first of the two rules, which has the
	// more specific routes of the main table go first; the second one follows it.
	// They come right before the rule of the main table (32766), after those of
	// mwan3 (1001 to 3250), tailscale (5210 to 5270) and netifd (10000 and 20000)
	// and after whatever a program adds without a priority, for which the kernel
	// takes the next number below those that are there.
	BackupPriority = 32764
)

// EnsureBackupDefault gives a backup a default route through gateway, normally
// the VIP that the master holds on the LAN, so that it can resolve names and
// update itself. The device is the one on which the kernel reaches gateway; it
// must be a neighbour there. A route of ours through another gateway is removed,
// after the new one is in place. It reports whether anything changed.
//
// Only what this router sends itself takes that route. A client's packet that
// took it, in the moment in which this router has the VIP already and its WAN not
// yet, would get a connection entry without NAT. On a router that has just become
// backup it would end the entry of a session that the peer is about to commit
// (see the package comment).
func (m *Manager) EnsureBackupDefault(ctx context.Context, gateway netip.Addr) (bool, error) {
	r := Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gateway}
	if !gateway.IsValid() {
		return false, fmt.Errorf("add backup default route: no gateway")
	}
	if err := r.validate(); err != nil {
		return false, fmt.Errorf("add backup default route: %w", err)
	}
	defer m.lock("")() // no link has that name
	routes, rules, err := m.backup()
	if err != nil {
		return false, err
	}
	stale := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return slices.Contains(backupRules[:], r) })
	changed, err := m.deleteBackup(ctx, nil, stale)
	if err != nil {
		return changed, err
	}
	ensure := func(w rule) error {
		if slices.Contains(rules, w) {
			return nil
		}
		changed = true
		return m.write(ctx, "add backup rule", w.String(), unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, w.message()...)
	}
	if len(routes) > 0 { // without the first rule the route would be the way to its own gateway
		if err := ensure(backupRules[0]); err != nil {
			return changed, err
		}
	}
	index, err := m.nl.neighbourDevice(gateway)
	if err != nil {
		return changed, fmt.Errorf("add backup default route via %s: %w", gateway, err)
	}
	want := kernelRoute(r, index, BackupProtocol)
	want.table = BackupTable
	if !slices.Contains(routes, want) {
		err := m.write(ctx, "add backup route", want.public().String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, want.message(false)...)
		if err != nil {
			return changed, err
		}
		changed = true
	}
	for i, w := range backupRules {
		if i == 0 && len(routes) > 0 {
			continue
		}
		if err := ensure(w); err != nil {
			return changed, err
		}
	}
	removed, err := m.deleteBackup(ctx, slices.DeleteFunc(routes, func(r route) bool { return r == want }), nil)
	return changed || removed, err
}

// RemoveBackupDefault removes what EnsureBackupDefault added, and the route that
// earlier versions had in the main table. It reports whether there was
// anything.
func (m *Manager) RemoveBackupDefault(ctx context.Context) (bool, error) {
	defer m.lock("")()
	routes, rules, err := m.backup()
	if err != nil {
		return false, err
	}
	return m.deleteBackup(ctx, routes, rules)
}

// BackupDefaults lists the default routes that EnsureBackupDefault added.
func (m *Manager) BackupDefaults(context.Context) (routes []Route, err error) {
	have, err := m.nl.listTable(BackupTable, 0, BackupProtocol)
	for _, r := range have {
		routes = append(routes, r.public())
	}
	return routes, err
}

// backup lists the routes and rules of a backup. The main table, which may be
// long, is looked through until it is known to hold none: this version puts none
// there.
func (m *Manager) backup() (routes []route, rules []rule, err error) {
	if routes, err = m.nl.listTable(BackupTable, 0, BackupProtocol); err != nil {
		return nil, nil, err
	}
	if !m.mainClean {
		old, err := m.nl.listRoutes(0, BackupProtocol)
		if err != nil {
			return nil, nil, err
		}
		m.mainClean = len(old) == 0
		routes = append(routes, old...)
	}
	rules, err = m.nl.listRules()
	return routes, slices.DeleteFunc(rules, func(r rule) bool { return !r.ours() }), err
}

// deleteBackup deletes rules first: while one lives, its route does.
func (m *Manager) deleteBackup(ctx context.Context, routes []route, rules []rule) (changed bool, err error) {
	slices.Reverse(rules) // the one with the table before the one that protects from it
	for _, r := range rules {
		err := m.write(ctx, "delete backup rule", r.String(), unix.RTM_DELRULE, 0, r.message()...)
		if err != nil && !gone(err) {
			return changed, err
		}
		changed = true
	}
	for _, r := range routes {
		err := m.write(ctx, "delete backup route", r.public().String(), unix.RTM_DELROUTE, 0, r.message(false)...)
		if err != nil && !gone(err) {
			return changed, err
		}
		changed = true
	}
	return changed, nil
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
