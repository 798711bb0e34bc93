package keeper

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// waiter is a hook that waits for its role.
type waiter struct {
	intent  hooks.Intent
	since   time.Time
	already bool // nothing was to be done when it asked
	reply   chan hooks.Answer
}

// settle takes an intent and answers once it is reached or superseded, or when
// the time that the hook has is over.
func (k *Keeper) settle(ctx context.Context, req hooks.Request) (hooks.Answer, error) {
	w := &waiter{intent: *req.Intent, since: time.Now(), reply: make(chan hooks.Answer, 1)}
	k.do(func() { k.enlist(w, req) })
	limit := time.NewTimer(req.Wait)
	defer limit.Stop()
	select {
	case a := <-w.reply:
		return a, nil
	case <-limit.C:
		k.do(func() { k.dismiss(w) })
	case <-ctx.Done():
		k.do(func() { delete(k.waiters, w) })
		return hooks.Answer{}, ctx.Err()
	}
	select {
	case a := <-w.reply:
		return a, nil
	case <-ctx.Done():
		return hooks.Answer{}, ctx.Err()
	}
}

// enlist adds a waiter; decide, which follows, serves it.
func (k *Keeper) enlist(w *waiter, req hooks.Request) {
	release := req.Op == hooks.OpRelease
	if release && k.role != hooks.Primary {
		w.reply <- hooks.Answer{Role: k.role, Error: "this router is backup: the peer may be using the lease, release it there"}
		return
	}
	// The record may have told of this very wish before.
	w.already = k.is(w.intent) && k.cause != w.intent.Token
	if release {
		k.release = w.intent.Token
	}
	// A newer one is known: judge finds it.
	if newer := k.hear(w.intent); newer == nil && (release || req.Unrecorded) {
		k.memo.keep(k.intents)
	}
	k.waiters[w] = struct{}{}
	if w.already {
		k.daemons.poke()
	}
}

// is reports whether nothing has to be done for an intent.
func (k *Keeper) is(i hooks.Intent) bool {
	for _, w := range k.covered(i.Scope) {
		if w.ordered.role != i.Role || !w.settled() {
			return false
		}
	}
	return k.serves()
}

// dismiss answers a waiter whose time is over.
func (k *Keeper) dismiss(w *waiter) {
	if _, waits := k.waiters[w]; !waits {
		return
	}
	a, done := k.judge(w)
	if !done {
		a.Outcome = hooks.Degraded
	}
	k.answer(w, a)
}

// inform answers the waiters whose wish has been met or overtaken, and wakes
// those who watch.
func (k *Keeper) inform() {
	for w := range k.waiters {
		if a, done := k.judge(w); done {
			k.answer(w, a)
		}
	}
	k.wakeFollowers()
}

func (k *Keeper) answer(w *waiter, a hooks.Answer) {
	delete(k.waiters, w)
	a.Already, a.Took = w.already, time.Since(w.since)
	if w.already {
		a.Phases = nil
	}
	w.reply <- a
}

// judge compares a wish with what is. Not done: the answer says what is missing.
func (k *Keeper) judge(w *waiter) (a hooks.Answer, done bool) {
	a = hooks.Answer{Outcome: hooks.Reached, Role: w.intent.Role, Problems: k.problems(w.intent.Scope)}
	if k.now != nil {
		a.Phases = k.phases(k.now)
	} else if len(k.past) > 0 {
		a.Phases = k.past[len(k.past)-1].Phases
	}
	if newer, ok := k.intents.Supersedes(w.intent.Scope, w.intent.Token); ok {
		return hooks.Answer{Outcome: hooks.Superseded, Role: newer.Role, By: newer.By()}, true
	}
	done = k.serves()
	for _, c := range k.covered(w.intent.Scope) {
		if c.ordered.role != w.intent.Role {
			// keepalived died meanwhile, or an instance of its own overrules the scope.
			a.Problems = append(a.Problems, c.Name+": stays "+c.ordered.role.String()+": "+k.wanted(c.Instance).by)
		}
		done = done && c.settled()
	}
	if len(a.Problems) > 0 {
		a.Outcome = hooks.Degraded
	}
	return a, done
}

// status describes the router.
func (k *Keeper) status(ctx context.Context) hooks.Report {
	got := make(chan hooks.Report, 1)
	k.do(func() { got <- k.describe(); k.asked = true })
	r := <-got
	for _, w := range k.wans {
		o, err := k.Network.Observe(ctx, link(w.WAN))
		if err != nil {
			r.Warnings = append(r.Warnings, w.Name+": "+err.Error())
			continue
		}
		for _, warning := range o.Warnings {
			r.Warnings = append(r.Warnings, w.Name+": "+warning)
		}
	}
	return r
}

// describe is the loop's part of status.
func (k *Keeper) describe() hooks.Report {
	r := hooks.Report{
		Version: k.Version, PID: os.Getpid(), Role: k.role, Since: k.since, By: k.by,
		WANs: []hooks.WAN{}, Services: []hooks.Service{},
		Transitions: append([]hooks.Transition{}, k.past...), Warnings: []string{},
		Conntrackd: k.replication(), VRRP: k.states.Reported(k.gone),
	}
	r.Warnings = append(r.Warnings, disputes(k.Config.WANs, k.intents, k.states, k.gone)...)
	for _, w := range k.wans {
		n := w.state.wan
		if w.state.epoch == 0 { // not begun yet
			n.Role = w.ordered.role
		}
		r.WANs = append(r.WANs, n)
		if w.state.lease != nil {
			refresh(&r.WANs[len(r.WANs)-1], w.state.lease)
		}
	}
	for _, s := range k.served.services {
		s.Pending = k.served.epoch != k.serving.epoch
		r.Services = append(r.Services, s)
	}
	if why, failing := strings.CutPrefix(r.Conntrackd, "failing: "); failing && k.role == hooks.Primary {
		r.Warnings = append(r.Warnings, "conntrackd: "+why+"; connections may be lost at the next failover: does it run on both routers?")
	}
	if k.fitness != nil {
		k.fitness.Fill(&r)
	}
	if k.serves() {
		r.Warnings = append(r.Warnings, k.served.problems...)
	}
	slices.Sort(r.Warnings)
	return r
}
