package keeper

import (
	"context"
	"fmt"
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
	Events   []string // what user scripts would hear
}

// Rehearse tells what a role would change, against the kernel and the services
// as they are. It changes nothing and sends nothing.
func Rehearse(ctx context.Context, o Options, role hooks.Role) Rehearsal {
	r := rehearsal{Options: o}
	r.role(role)
	replicated := r.replicated(ctx, role)
	switch {
	case !replicated:
	case role == hooks.Primary:
		r.step(hooks.PhaseCommit)
	default:
		r.step(hooks.PhaseYield)
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
	if replicated && role == hooks.Primary {
		r.step(hooks.PhaseResync)
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

// hears notes an event for user scripts, once.
func (r *rehearsal) hears(event string) {
	if !slices.Contains(r.Events, event) {
		r.Events = append(r.Events, event)
	}
}

// role notes whether the role would be another than the recorded one.
func (r *rehearsal) role(role hooks.Role) {
	recorded, _, _ := hooks.ReadIntents(r.RunDir) // a hook replaces what cannot be read
	for _, w := range r.Config.WANs {
		if wanted(recorded, w.Instance, goneNow).role != role {
			r.hears(role.String())
		}
	}
}

// replicated reports whether the replication would take part: in the promotion of
// a WAN that is not up, in the demotion of one that is.
func (r *rehearsal) replicated(ctx context.Context, role hooks.Role) bool {
	if r.Replica == nil || !slices.ContainsFunc(r.Config.WANs, func(w config.WAN) bool {
		seen, err := r.Network.Observe(ctx, link(w))
		up := err == nil && seen.Owned && !seen.Muted
		return up != (role == hooks.Primary)
	}) {
		return false
	}
	if b, ok := r.Replica.(broken); ok {
		r.problem("conntrackd: %v", b.err)
		return false
	}
	return true
}

// publish tells who would hear of the lease, nil if that is not known yet.
func (r *rehearsal) publish(w config.WAN, l *dhcp.Lease) {
	for _, pub := range r.Publishers {
		servers := ""
		if _, ok := pub.(Resolver); ok {
			if !w.PeerDNS || l != nil && len(l.DNS) == 0 {
				continue
			}
			if l != nil {
				servers = fmt.Sprintf(": name servers %v", l.DNS)
			}
		}
		r.step("%s: tell %s of the lease%s", w.Name, pub, servers)
	}
	r.hears(dhcp.LeaseBound)
}

// withdraw tells who would hear that the lease is not this router's any more.
func (r *rehearsal) withdraw(w config.WAN) {
	for _, pub := range r.Publishers {
		if _, ok := pub.(Resolver); !ok || w.PeerDNS {
			r.step("%s: take the lease back from %s", w.Name, pub)
		}
	}
	r.hears(dhcp.LeaseLost)
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
	l, err := dhcp.ReadLease(r.RunDir.Lease(w.Name))
	held := slices.IndexFunc(seen.Addresses, func(a netif.Address) bool { return a.Owned })
	if err != nil || l.Remaining() <= 0 {
		if held < 0 {
			r.step("%s: ask for a lease by DHCP", w.Name)
			r.publish(w, nil)
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
		r.publish(w, l)
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
	if !seen.Muted && slices.ContainsFunc(seen.Addresses, func(a netif.Address) bool { return a.Owned }) {
		r.withdraw(w)
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
