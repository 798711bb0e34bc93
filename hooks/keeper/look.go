package keeper

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// Look reports how the router stands where no keeper can be asked: what a keeper
// would decide by the record, and what the kernel and the service manager hold.
// It changes nothing.
func Look(ctx context.Context, o Options) control.Report {
	r := control.Report{
		Version: o.Version, WANs: []control.WAN{}, Services: []control.Service{},
		Transitions: []control.Transition{}, Warnings: []string{},
	}
	warn := func(err error) {
		if err != nil {
			r.Warnings = append(r.Warnings, err.Error())
		}
	}
	recorded, states, err := intent.ReadIntents(o.RunDir)
	warn(err)
	r.VRRP = control.Reported(states, intent.Process.Gone, new(wallClock).at())
	r.Warnings = append(r.Warnings, router.Disputes(routerConfig(o).WANs, recorded, states, intent.Process.Gone)...)
	d := router.Decide(recorded, instances(o.Config), goneNow)
	r.Role, r.By = d.Role, d.By
	if d.Token != (intent.Token{}) {
		r.Since = new(wallClock).at()(d.Token.Boot())
	}
	for n, w := range o.Config.WANs {
		seen, err := o.Network.Observe(ctx, wan.Link(w))
		state, leaseErr := unattended(w, seen, o.RunDir)
		if err != nil {
			state.Error = err.Error()
		} else {
			warn(leaseErr)
		}
		if state.Role = d.WANs[n].Role; state.Role == intent.Primary && state.State == control.StateStandby {
			state.State = control.StateDown
		}
		for _, text := range seen.Warnings {
			r.Warnings = append(r.Warnings, w.Name+": "+text)
		}
		r.WANs = append(r.WANs, state)
	}
	fitness.Look(ctx, o.Services, fitness.Names(o.Replica != nil)).Fill(&r)
	if o.Services != nil {
		for _, name := range installed(ctx, o) {
			s := control.Service{Name: name, Backend: o.Services.Backend()}
			state, err := o.Services.State(ctx, name)
			if s.Running = state == services.Running; err != nil {
				s.Error = err.Error()
			}
			r.Services = append(r.Services, s)
		}
	}
	return r
}

// instances are those that drive the WANs.
func instances(c config.Config) (all []string) {
	for _, w := range c.WANs {
		all = append(all, w.Instance)
	}
	return all
}

// goneNow asks the kernel, for a process that watches no others.
func goneNow(p intent.Process) string {
	if p.Gone() {
		return router.Exited
	}
	return ""
}

// unattended is a WAN as it was found, without a keeper.
func unattended(w config.WAN, seen netif.Observed, dir rundir.Dir) (n control.WAN, err error) {
	n = control.WAN{Name: w.Name, Parent: w.Parent, MAC: w.MAC.String(), State: control.StateStandby}
	switch {
	case !seen.Exists:
		return n, nil
	case !seen.Owned:
		n.State = control.StateForeign
		return n, nil
	case seen.Muted:
		n.State = control.StateMuted
		return n, nil
	}
	n.State = control.StateUnattended
	at := slices.IndexFunc(seen.Addresses, func(a netif.Address) bool { return a.Owned })
	if at < 0 {
		return n, nil
	}
	held := seen.Addresses[at]
	n.Address, n.LeaseSeconds = held.Prefix, -1
	if held.Valid != netif.Forever {
		n.LeaseSeconds = int64(held.Valid / time.Second)
	}
	for _, route := range seen.Routes {
		if route.Dst.Bits() == 0 {
			n.Gateway = route.Gateway
		}
	}
	l, err := dhcp.ReadLease(dir.Lease(w.Name))
	if err == nil && l.Prefix == held.Prefix {
		n.Server, n.DNS = l.Server, l.DNS
		n = wan.Refreshed(n, l, dhcp.BootTime())
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return n, err
}
