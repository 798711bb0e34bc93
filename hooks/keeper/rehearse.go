package keeper

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// Rehearsal is what a role would change.
type Rehearsal struct {
	Steps    []string
	Problems []string // what would be in the way
}

// Rehearse tells what a role would change, against the kernel and the services
// as they are. It changes nothing and sends nothing.
func Rehearse(ctx context.Context, o Options, role hooks.Role) Rehearsal {
	r := rehearsal{Options: o}
	if role == hooks.Primary && o.Replica != nil && r.anyDown(ctx) {
		r.step("commit the peer's connections (conntrackd)")
	}
	for _, w := range o.Config.WANs {
		seen, err := o.Network.Observe(ctx, link(w))
		switch {
		case err != nil:
			r.problem("%s: %v", w.Name, err)
		case role == hooks.Primary:
			r.raise(w, seen)
		default:
			r.silence(w, seen)
		}
	}
	r.fallback(ctx, role)
	r.services(ctx, role)
	return r.Rehearsal
}

type rehearsal struct {
	Options
	Rehearsal
}

func (r *rehearsal) step(format string, args ...any) {
	r.Steps = append(r.Steps, fmt.Sprintf(format, args...))
}

func (r *rehearsal) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// anyDown reports whether a WAN is not up, so that a promotion would be one.
func (r *rehearsal) anyDown(ctx context.Context) bool {
	return slices.ContainsFunc(r.Config.WANs, func(w config.WAN) bool {
		seen, err := r.Network.Observe(ctx, link(w))
		return err != nil || !seen.Owned || seen.Muted
	})
}

func (r *rehearsal) raise(w config.WAN, seen netif.Observed) {
	switch {
	case !seen.ParentExists:
		r.problem("%s: parent %s does not exist", w.Name, w.Parent)
		return
	case seen.Exists && !seen.Owned:
		r.problem("%s: a %s of this name is not wanfail's", w.Name, seen.Kind)
		return
	}
	if !seen.ParentUp {
		r.step("%s: set parent %s up", w.Name, w.Parent)
	}
	switch {
	case !seen.Exists:
		r.step("%s: add macvlan on %s with %s", w.Name, w.Parent, w.MAC)
	case !seen.Matches:
		r.step("%s: replace macvlan on %s with %s by one on %s with %s", w.Name, seen.Parent, seen.MAC, w.Parent, w.MAC)
		seen.Addresses, seen.Routes = nil, nil
	case seen.Muted:
		r.step("%s: unmute", w.Name)
	}
	l, err := dhcp.ReadLease(filepath.Join(r.RunDir, w.Name+".lease"))
	held := slices.IndexFunc(seen.Addresses, func(a netif.Address) bool { return a.Owned })
	if err != nil || l.Remaining() <= 0 {
		if held < 0 {
			r.step("%s: ask for a lease by DHCP", w.Name)
		}
		return
	}
	r.address(w, seen, l)
}

// address compares what the kernel holds with a lease that still runs.
func (r *rehearsal) address(w config.WAN, seen netif.Observed, l *dhcp.Lease) {
	want := plan(w, l)
	there := slices.ContainsFunc(seen.Addresses, func(a netif.Address) bool { return a.Prefix == want.Addr })
	if !there {
		left := "infinite"
		if !l.Infinite() {
			left = l.Remaining().Round(time.Second).String() + " left"
		}
		r.step("%s: add address %s (remembered lease, %s)", w.Name, want.Addr, left)
	}
	for _, route := range want.Routes {
		if !slices.ContainsFunc(seen.Routes, func(h netif.Route) bool {
			return h.Dst == route.Dst && h.Gateway == route.Gateway && h.Metric == route.Metric
		}) {
			r.step("%s: add route %s", w.Name, route)
		}
	}
	for _, a := range seen.Addresses {
		if a.Owned && a.Prefix != want.Addr {
			r.step("%s: remove address %s", w.Name, a.Prefix)
		}
	}
	if !there {
		r.step("%s: confirm the lease by DHCP, announce %s by ARP", w.Name, want.Addr.Addr())
	}
}

func (r *rehearsal) silence(w config.WAN, seen netif.Observed) {
	switch {
	case !seen.Exists:
		return
	case !seen.Owned:
		r.problem("%s: a %s of this name is not wanfail's and stays", w.Name, seen.Kind)
		return
	case !seen.Muted:
		for _, a := range seen.Addresses {
			r.step("%s: silence %s", w.Name, a.Prefix)
		}
		if len(seen.Addresses) == 0 {
			r.step("%s: silence", w.Name)
		}
	}
	after := ""
	if r.Replica != nil {
		after = fmt.Sprintf(" %v later, when the peer has the connections", lingering)
	}
	r.step("%s: delete macvlan%s", w.Name, after)
}

// fallback is about a backup's default route through the peer.
func (r *rehearsal) fallback(ctx context.Context, role hooks.Role) {
	n, ok := r.Network.(interface {
		BackupDefaults(context.Context) ([]netif.Route, error)
	})
	if !ok {
		return
	}
	have, err := n.BackupDefaults(ctx)
	if err != nil {
		r.problem("list routes: %v", err)
		return
	}
	gateway := r.Config.BackupGateway
	there := false
	for _, route := range have {
		if role == hooks.Primary || route.Gateway != gateway {
			r.step("remove the backup's default route via %s", route.Gateway)
		}
		there = there || route.Gateway == gateway
	}
	if role == hooks.Backup && gateway.IsValid() && !there {
		r.step("add default route via %s", gateway)
	}
}

func (r *rehearsal) services(ctx context.Context, role hooks.Role) {
	if r.Services == nil {
		return
	}
	for _, name := range installed(ctx, r.Options) {
		state, err := r.Services.State(ctx, name)
		switch {
		case err != nil:
			r.problem("service %s: %v", name, err)
		case role == hooks.Primary && state != services.Running:
			r.step("start %s", name)
		case role == hooks.Backup && state != services.Stopped:
			r.step("stop %s", name)
		}
	}
}
