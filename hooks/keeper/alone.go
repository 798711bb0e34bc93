package keeper

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/services"
)

// aloneWait is how long a hook without a keeper waits for another one, or for a
// keeper that is just starting.
const aloneWait = 500 * time.Millisecond

// Alone makes the router backup without a keeper, as far as the intents want
// that. Silence comes first and does not wait for anything; with finish the call
// also stays until links that linger are deleted, which else the next keeper
// does.
func Alone(ctx context.Context, o Options, finish bool) hooks.Answer {
	start := time.Now()
	a := hooks.Answer{Outcome: hooks.Reached, Role: hooks.Backup}
	problem := func(err error) {
		if err != nil {
			a.Problems = append(a.Problems, err.Error())
			a.Outcome = hooks.Degraded
		}
	}
	unlock, err := hooks.LockWithin(ctx, filepath.Join(o.RunDir, "keeper.lock"), aloneWait)
	if err == nil {
		defer unlock()
	} // else: to be silent twice is better than not at all
	wanted, err := wantedAlone(o)
	problem(err)

	phase := func(name string, began time.Time, err error) {
		p := hooks.Phase{Name: name, Took: time.Since(began), At: time.Since(start)}
		if err != nil {
			p.Error = err.Error()
		}
		a.Phases = append(a.Phases, p)
		problem(err)
	}
	var lingers bool
	for _, w := range o.Config.WANs {
		if wanted(w.Instance) == hooks.Primary {
			continue
		}
		began := time.Now()
		err := o.Network.Mute(ctx, link(w))
		phase(w.Name+" silent", began, err)
		if o.Replica != nil && err == nil && !finish {
			lingers = true
			continue
		}
		if o.Replica != nil && err == nil {
			if seen, err := o.Network.Observe(ctx, link(w)); err == nil && seen.Owned {
				lingers = true
				continue
			}
		}
		_, err = o.Network.Purge(ctx, link(w))
		phase(w.Name+" deleted", began, err)
	}
	if _, err := o.Network.PurgeOrphans(ctx, links(o.Config.WANs)); err != nil {
		problem(err)
	}
	if wanted("") == hooks.Backup && o.Services != nil {
		k := New(o)
		for _, r := range services.Converge(ctx, o.Services, k.installed(ctx), false, serviceLimit) {
			if r.Changed || r.Err != nil {
				phase("stop "+r.Name, time.Now().Add(-r.Took), r.Err)
			}
		}
	}
	if lingers && finish {
		select {
		case <-time.After(lingering):
		case <-ctx.Done():
		}
		for _, w := range o.Config.WANs {
			if wanted(w.Instance) == hooks.Backup {
				began := time.Now()
				_, err := o.Network.Purge(ctx, link(w))
				phase(w.Name+" deleted", began, err)
			}
		}
	}
	a.Took = time.Since(start)
	return a
}
