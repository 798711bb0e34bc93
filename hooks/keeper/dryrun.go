package keeper

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// Preview is what a role would change.
type Preview struct {
	Steps    []string
	Problems []string // what would be in the way
	Events   []string // for which user scripts would be called
}

// DryRun returns what a role would change, compared with the kernel and the services
// as they are. It changes nothing and sends nothing: the machines of a keeper
// decide, and what they decide is printed, as if each step succeeded.
func DryRun(ctx context.Context, o Options, role intent.Role) Preview {
	r := dryRun{Options: o, now: dhcp.BootTime()}
	recorded, _, _ := intent.ReadIntents(o.RunDir) // a hook replaces what cannot be read
	for _, v := range router.Decide(recorded, instances(o.Config), goneNow).WANs {
		if v.Role != role {
			r.event(role.String())
		}
	}
	machine := router.New(routerConfig(o), nil)
	var found []router.Found
	for _, w := range o.Config.WANs {
		d := r.observe(ctx, w)
		r.wans = append(r.wans, d)
		found = append(found, router.Found{
			Held: d.seen.Owned && len(d.seen.Addresses) > 0 && !d.seen.Muted, Up: d.machine.State().Held,
		})
	}
	asked := intent.Intents{{Role: role, Token: intent.Token{Ticks: math.MaxUint64}}}
	actions := machine.Step(r.now, router.Started{Intents: asked, Found: found})
	var last []router.Action
	for _, a := range actions {
		switch b := a.(type) {
		case router.Serve:
			last = append(last, a) // beside the WANs, but less important
			continue
		case router.SetFallback:
			if b.Role == intent.Backup {
				last = append(last, a) // when the LAN has its gateway
				continue
			}
		}
		r.execute(ctx, a)
	}
	for n, d := range r.wans {
		last = append(machine.Step(r.now, router.Reached{WAN: n, State: wan.State{Epoch: d.epoch, Settled: true}}), last...)
	}
	for _, a := range last {
		r.execute(ctx, a)
	}
	return r.Preview
}

// dryRun prints what the router's machine decides.
type dryRun struct {
	Options
	Preview
	now  time.Duration
	wans []*dryWAN
}

func (r *dryRun) step(format string, args ...any) {
	r.Steps = append(r.Steps, fmt.Sprintf(format, args...))
}

func (r *dryRun) problem(format string, args ...any) {
	if p := fmt.Sprintf(format, args...); !slices.Contains(r.Problems, p) {
		r.Problems = append(r.Problems, p)
	}
}

// event notes an event for user scripts, once.
func (r *dryRun) event(event string) {
	if !slices.Contains(r.Events, event) {
		r.Events = append(r.Events, event)
	}
}

func (r *dryRun) execute(ctx context.Context, a router.Action) {
	switch a := a.(type) {
	case router.SetFallback:
		r.fallback(ctx, a.Role)
	case router.Replicate:
		if b, ok := r.Replica.(broken); ok {
			r.problem("conntrackd: %v", b.err)
		} else {
			r.step("%s", string(a.Job))
		}
	case router.Serve:
		r.services(ctx, a.Up)
	case router.Order:
		r.wans[a.WAN].order(a.Order)
	}
}

// fallback is about a backup's default route through the peer.
func (r *dryRun) fallback(ctx context.Context, role intent.Role) {
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
		if role == intent.Primary || route.Gateway != gateway {
			r.step("remove the backup's default route via %s", route.Gateway)
		}
		there = there || route.Gateway == gateway
	}
	if role == intent.Backup && gateway.IsValid() && !there {
		r.step("add default route via %s", gateway)
	}
}

func (r *dryRun) services(ctx context.Context, up bool) {
	if r.Services == nil {
		return
	}
	for _, name := range installed(ctx, r.Options) {
		state, err := r.Services.State(ctx, name)
		switch {
		case err != nil:
			r.problem("service %s: %v", name, err)
		case up && state != services.Running:
			r.step("start %s", name)
		case !up && state != services.Stopped:
			r.step("stop %s", name)
		}
	}
}

// observe looks at a WAN as a keeper does that starts.
func (r *dryRun) observe(ctx context.Context, w config.WAN) *dryWAN {
	d := &dryWAN{dryRun: r, wan: w, machine: wan.New(w)}
	seen, err := r.Network.Observe(ctx, wan.Link(w))
	if err != nil {
		r.problem("%s: %v", w.Name, err)
		d.unseen = true
		return d
	}
	d.seen = seen
	at := slices.IndexFunc(seen.Addresses, func(a netif.Address) bool { return a.Owned })
	if l, err := dhcp.ReadLease(r.RunDir.Lease(w.Name)); err == nil && l.RemainingAt(r.now) > 0 {
		d.lease = l
	} else if at >= 0 { // the client knows it and is about to write it down
		d.lease = leaseOf(seen, seen.Addresses[at], r.now)
	}
	d.step(wan.Found{Observed: seen, Remembered: d.lease})
	d.held = at >= 0 && !seen.Muted
	return d
}

// leaseOf is a lease that covers what the kernel holds.
func leaseOf(seen netif.Observed, a netif.Address, now time.Duration) *dhcp.Lease {
	l := &dhcp.Lease{Prefix: a.Prefix, Acquired: now, TTL: a.Valid} // netif.Forever is dhcp.Infinite
	for _, r := range seen.Routes {
		l.Routes = append(l.Routes, dhcp.Route{Dst: r.Dst, Gateway: r.Gateway})
	}
	return l
}
