package keeper

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// Look reports how the router stands where no keeper can be asked: the recorded
// role, and what the kernel and the service manager hold. It changes nothing.
func Look(ctx context.Context, o Options) hooks.Report {
	r := hooks.Report{
		Version: o.Version, WANs: []hooks.WAN{}, Services: []hooks.Service{},
		Transitions: []hooks.Transition{}, Warnings: []string{},
	}
	warn := func(err error) {
		if err != nil {
			r.Warnings = append(r.Warnings, err.Error())
		}
	}
	recorded, states, err := hooks.ReadIntents(o.RunDir)
	warn(err)
	r.VRRP = states.Reported(hooks.Process.Gone)
	r.Warnings = append(r.Warnings, disputes(o.Config.WANs, recorded, states, hooks.Process.Gone)...)
	if len(recorded) == 0 {
		r.By = nobody
	}
	for _, i := range recorded {
		role := rests(i)
		if role >= r.Role && (i.At.After(r.Since) || role > r.Role) {
			r.Role, r.Since, r.By = role, i.At, i.By()
			if role != i.Role {
				r.By += ", which is gone"
			}
		}
	}
	for _, w := range o.Config.WANs {
		n, warnings, err := lookAt(ctx, o, w, recorded)
		warn(err)
		for _, text := range warnings {
			r.Warnings = append(r.Warnings, w.Name+": "+text)
		}
		r.WANs = append(r.WANs, n)
	}
	fitness.Look(ctx, o.Services, fitness.Names(o.Replica != nil)).Fill(&r)
	if o.Services != nil {
		for _, name := range installed(ctx, o) {
			s := hooks.Service{Name: name, Backend: o.Services.Backend()}
			state, err := o.Services.State(ctx, name)
			if s.Running = state == services.Running; err != nil {
				s.Error = err.Error()
			}
			r.Services = append(r.Services, s)
		}
	}
	return r
}

// nobody is who asked for the role of a router that nobody has told one.
const nobody = "default after boot; keepalived has called no hook"

// rests is the role of an intent while the keepalived that it rests on lives.
func rests(i hooks.Intent) hooks.Role {
	if i.Role == hooks.Primary && i.Owner != (hooks.Process{}) && i.Owner.Gone() {
		return hooks.Backup
	}
	return i.Role
}

func lookAt(ctx context.Context, o Options, w config.WAN, recorded hooks.Intents) (n hooks.WAN, warnings []string, err error) {
	seen, err := o.Network.Observe(ctx, link(w))
	if err != nil {
		n, _ = unattended(w, netif.Observed{}, o.RunDir)
		n.Error, err = err.Error(), nil
	} else {
		n, err = unattended(w, seen, o.RunDir)
	}
	if i, ok := recorded.For(w.Instance); ok {
		n.Role = rests(i)
	}
	if n.Role == hooks.Primary && n.State == hooks.StateStandby {
		n.State = hooks.StateDown
	}
	return n, seen.Warnings, err
}

// unattended is a WAN as it was found, which nobody drives.
func unattended(w config.WAN, seen netif.Observed, runDir rundir.Dir) (n hooks.WAN, err error) {
	n = hooks.WAN{Name: w.Name, Parent: w.Parent, MAC: w.MAC.String(), State: hooks.StateStandby}
	switch {
	case !seen.Exists:
		return n, nil
	case !seen.Owned:
		n.State = hooks.StateForeign
		return n, nil
	case seen.Muted:
		n.State = hooks.StateMuted
		return n, nil
	}
	n.State = hooks.StateUnattended
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
	l, err := dhcp.ReadLease(runDir.Lease(w.Name))
	if err == nil && l.Prefix == held.Prefix {
		n.Server, n.DNS = l.Server, l.DNS
		refresh(&n, l)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return n, err
}
