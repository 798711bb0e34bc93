package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// loop executes what the router's machine decides. It never waits for anything
// but its next piece of work.
func (k *Keeper) loop(ctx context.Context, found []router.Found) {
	recorded, states := k.load()
	k.step(ctx, router.Started{Intents: recorded, States: states, Ended: ended(recorded, states), Found: found})
	k.preserve(recorded)
	k.Ready()
	timer := newTimer()
	for {
		if at := k.machine.Wake(); at != router.Never {
			timer.set(at - dhcp.BootTime())
		} else if timer.running {
			timer.stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-k.work.wake:
			for _, f := range k.work.take() {
				f()
			}
		case <-timer.C:
			timer.stop()
			k.events = append(k.events, router.Woke{})
		}
		k.settle(ctx)
	}
}

// settle passes the events of the current work to the machine, all before it
// decides: of requests that come together only the newest is executed.
func (k *Keeper) settle(ctx context.Context) {
	if len(k.events) > 0 {
		events := k.events
		k.events = nil
		k.step(ctx, events...)
	}
	for _, tell := range k.noticed {
		tell()
	}
	k.noticed = nil
	if k.unrecorded {
		k.unrecorded = false
		k.recorder.keep(k.machine.Intents())
	}
	if k.recorded != nil {
		recorded := *k.recorded
		k.recorded = nil
		k.preserve(recorded)
	}
	k.inform()
}

func (k *Keeper) step(ctx context.Context, events ...router.Event) {
	actions := k.machine.Step(dhcp.BootTime(), events...)
	known := k.machine.Intents()
	k.known.Store(&known)
	for _, a := range actions {
		k.execute(ctx, a)
	}
}

// execute does one thing that the machine has decided.
func (k *Keeper) execute(ctx context.Context, a router.Action) {
	switch a := a.(type) {
	case router.Begin:
		k.gc.busy()
		k.Step("intent taken: " + a.Role.String())
	case router.SetFallback:
		if a.Role == intent.Primary {
			k.fallback.leave(ctx)
		} else {
			k.fallback.enter()
		}
	case router.Replicate:
		k.replication.add(a)
	case router.Serve:
		k.daemons.order(a)
	case router.Turned:
		if k.Roles != nil {
			k.Roles(a.Role, a.By)
		}
	case router.Order:
		k.uplinks[a.WAN].tell(wan.Ordered{Order: a.Order})
	case router.OpenGate:
		k.uplinks[a.WAN].tell(wan.GateOpened{Epoch: a.Epoch})
	case router.Announce:
		k.uplinks[a.WAN].tell(wan.MACMoved{Reason: a.Reason})
	case router.Watch:
		k.watchOwner(ctx, a)
	case router.Unwatch:
		if cancel := k.owners[a.Process]; cancel != nil {
			cancel()
			delete(k.owners, a.Process)
		}
	case router.Ended:
		t := a.Transition
		k.log.Info(a.Text, "by", t.By, "took", t.Took.Round(10*time.Microsecond),
			"phases", phaseList(t.Phases), "problems", strings.Join(t.Problems, "; "))
		k.gc.idle()
	case router.Log:
		k.log.Log(ctx, a.Level, a.Text, a.Args...)
	}
}

// load reads what was recorded.
func (k *Keeper) load() (intent.Intents, intent.States) {
	recorded, err := k.store.Load()
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != "" && why != k.unreadable {
		k.log.Error("cannot use the recorded intent", "error", err)
	}
	k.unreadable = why
	states, _ := k.store.States() // the same error
	return recorded, states
}

// reload takes over what was recorded meanwhile.
func (k *Keeper) reload() {
	recorded, states := k.load()
	k.recorded = &recorded
	k.events = append(k.events, router.Requested{Intents: recorded, States: states, Ended: ended(recorded, states)})
}

// request hands an intent to the machine.
func (k *Keeper) request(i intent.Intent, release bool) {
	is := intent.Intents{i}
	k.events = append(k.events, router.Requested{Intents: is, Ended: ended(is, nil), Release: release})
}

// ended are the processes that intents and states depend on and that have ended
// already, but for readers of a FIFO, which may be read in their place.
func ended(is intent.Intents, states intent.States) (all []intent.Process) {
	asked := map[intent.Process]bool{{}: true}
	for _, i := range slices.Concat(is, intent.Intents(states)) {
		for _, p := range []intent.Process{i.Owner, i.Channel} {
			if p == i.Channel && i.FIFO != "" {
				continue
			}
			if !asked[p] && p.Gone() {
				all = append(all, p)
			}
			asked[p] = true
		}
	}
	return all
}

// preserve puts on record what is known and was lost there: a later keeper needs
// it.
func (k *Keeper) preserve(recorded intent.Intents) {
	var missing intent.Intents
	for _, i := range k.machine.Intents() {
		if !recorded.Holds(i) {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		k.recorder.keep(missing)
	}
}

// phaseList prints phases on one line of a log.
type phaseList []control.Phase

// LogValue implements slog.LogValuer.
func (l phaseList) LogValue() slog.Value {
	var parts []string
	for _, p := range l {
		s := fmt.Sprintf("%s %v", p.Name, p.At.Round(10*time.Microsecond))
		if p.Error != "" {
			s += " (failed)"
		}
		parts = append(parts, s)
	}
	return slog.StringValue(strings.Join(parts, ", "))
}
