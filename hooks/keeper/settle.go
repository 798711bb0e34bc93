package keeper

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// waiter is a hook that waits for its role.
type waiter struct {
	intent  intent.Intent
	since   time.Time
	already bool // nothing was to be done when it asked
	reply   chan control.Answer
}

// take takes an intent and answers once it is reached or superseded, or when the
// time that the hook has is over.
func (k *Keeper) take(ctx context.Context, req control.Request) (control.Answer, error) {
	w := &waiter{intent: *req.Intent, since: time.Now(), reply: make(chan control.Answer, 1)}
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
		return control.Answer{}, ctx.Err()
	}
	select {
	case a := <-w.reply:
		return a, nil
	case <-ctx.Done():
		return control.Answer{}, ctx.Err()
	}
}

// enlist adds a waiter; settle, which follows, serves it.
func (k *Keeper) enlist(w *waiter, req control.Request) {
	release := req.Op == control.OpRelease
	if role := k.machine.Role(); release && role != intent.Primary {
		w.reply <- control.Answer{Role: role, Error: "this router is backup: the peer may be using the lease, release it there"}
		return
	}
	w.already = k.machine.Already(w.intent)
	k.unrecorded = k.unrecorded || release || req.Unrecorded
	k.request(w.intent, release)
	k.waiters[w] = struct{}{}
	if w.already {
		k.daemons.checkNow()
	}
}

// announce is for a master that has received an advert of a lower priority.
func (k *Keeper) announce(i intent.Intent) {
	k.post(router.LowerAdvert{Scope: i.Scope, Reason: i.By()})
}

// dismiss answers a waiter whose time limit has passed.
func (k *Keeper) dismiss(w *waiter) {
	if _, waits := k.waiters[w]; !waits {
		return
	}
	a, done := k.machine.Judge(w.intent)
	if !done {
		a.Outcome = control.Degraded
	}
	k.answer(w, a)
}

// inform answers the waiters whose request has been met or overtaken, and wakes
// those who follow.
func (k *Keeper) inform() {
	for w := range k.waiters {
		if a, done := k.machine.Judge(w.intent); done {
			k.answer(w, a)
		}
	}
	k.wakeFollowers()
}

func (k *Keeper) answer(w *waiter, a control.Answer) {
	delete(k.waiters, w)
	a.Already, a.Took = w.already, time.Since(w.since)
	if w.already {
		a.Phases = nil
	}
	w.reply <- a
}

// status describes the router.
func (k *Keeper) status(ctx context.Context) (r control.Report, err error) {
	got := make(chan control.Report, 1)
	k.do(func() { got <- k.describe(); k.asked = true })
	select {
	case r = <-got:
	case <-ctx.Done():
		return r, ctx.Err()
	}
	for _, u := range k.uplinks {
		o, err := k.Network.Observe(ctx, wan.Link(u.wan))
		if err != nil {
			r.Warnings = append(r.Warnings, u.wan.Name+": "+err.Error())
			continue
		}
		for _, warning := range o.Warnings {
			r.Warnings = append(r.Warnings, u.wan.Name+": "+warning)
		}
	}
	return r, nil
}

// describe is the loop's part of status.
func (k *Keeper) describe() control.Report {
	r := k.machine.Report(dhcp.BootTime(), k.wall.at())
	r.Version, r.PID = k.Version, os.Getpid()
	if k.fitness != nil {
		k.fitness.Fill(&r)
	}
	r.Warnings = slices.AppendSeq(r.Warnings, maps.Values(k.standIns))
	slices.Sort(r.Warnings)
	return r
}
