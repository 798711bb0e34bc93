// Package drill makes the two routers change places and back, with a stopwatch.
//
// keepalived decides all the way: the drill only lowers this router's priority
// through a track_file. A peer that is there preempts; if none is, this router
// stays master. So the LAN always has one, even if the drill is killed.
package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// Router is what a drill watches and moves.
type Router interface {
	// Priority sets what is added to keepalived's priority.
	Priority(delta int) error
	// Reports are the keeper's, as they change.
	Reports() <-chan hooks.Report
	// PeerAnswers returns nil once another router answers for a virtual address,
	// and ErrCannotAsk where this one cannot tell.
	PeerAnswers(ctx context.Context) error
}

// ErrCannotAsk tells that nobody can be asked for the virtual address from here.
var ErrCannotAsk = errors.New("no address of this router is in the network of a virtual address")

// Errors of a drill that ends early. The priority is back in each case.
var (
	ErrNotPrimary = errors.New("this router is not primary: run the drill on the one that is")
	ErrNoPeer     = errors.New("the peer did not take over: this router stayed master all the time; is keepalived running there, without `nopreempt`?")
	ErrNoAnswer   = errors.New("this router became backup, but nobody answers for the virtual address")
	ErrNoReturn   = errors.New("this router did not become primary again: the peer still is")
)

// Plan is how a drill goes.
type Plan struct {
	Lower int           // what makes the priority 1
	Limit time.Duration // for each of the two changes
	Hold  time.Duration // how long the peer stays master
	Stay  bool          // this router does not preempt: it stays backup
	Say   func(after time.Duration, text string)
}

// Run drills. However it ends, the priority is put back.
func Run(ctx context.Context, r Router, p Plan) error {
	first, err := next(ctx, r.Reports(), time.Now().Add(p.Limit), func(hooks.Report) bool { return true })
	if err != nil {
		return err
	}
	if first.Role != hooks.Primary || !holds(first) {
		return ErrNotPrimary
	}
	d := &run{Router: r, Plan: p, start: time.Now()}
	if err := r.Priority(p.Lower); err != nil {
		return fmt.Errorf("lower the priority: %w", errors.Join(err, r.Priority(0)))
	}
	d.say("priority lowered")
	err = d.away(ctx)
	if back := r.Priority(0); back != nil {
		return errors.Join(err, fmt.Errorf("put the priority back: %w", back))
	}
	d.say("priority put back")
	if err != nil {
		return err
	}
	return d.back(ctx)
}

type run struct {
	Router
	Plan
	start time.Time
	told  bool // of the demotion
}

func (d *run) say(format string, args ...any) {
	d.Say(time.Since(d.start), fmt.Sprintf(format, args...))
}

// away waits until the peer has taken over.
func (d *run) away(ctx context.Context) error {
	r, err := next(ctx, d.Reports(), time.Now().Add(d.Limit), func(r hooks.Report) bool { return r.Role == hooks.Backup })
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrNoPeer
	}
	if err != nil {
		return err
	}
	d.say("backup, by %s", strings.TrimPrefix(r.By, "by "))
	d.told = d.tell(r, hooks.Backup)
	limit, cancel := context.WithTimeout(ctx, d.Limit)
	defer cancel()
	switch err := d.PeerAnswers(limit); {
	case errors.Is(err, ErrCannotAsk):
		d.say("the peer is master: its advert has said so (%v)", err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return ErrNoAnswer
	default:
		d.say("the peer answers for the virtual address")
	}
	// The last words on the demotion may still come; and somebody may want to try
	// the peer's line.
	r, err = next(ctx, d.Reports(), time.Now().Add(d.Hold), func(r hooks.Report) bool {
		d.told = d.told || d.tell(r, hooks.Backup)
		return r.Role == hooks.Primary
	})
	switch {
	case err == nil:
		return fmt.Errorf("the peer gave the role back (%s) while it was to hold it", r.By)
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return nil
}

// back waits until this router is primary again.
func (d *run) back(ctx context.Context) error {
	if d.Stay {
		d.say("this router has `nopreempt`: it stays backup. Run the drill on the peer to go back")
		return nil
	}
	r, err := next(ctx, d.Reports(), time.Now().Add(d.Limit), func(r hooks.Report) bool { return r.Role == hooks.Primary })
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrNoReturn
	}
	if err != nil {
		return err
	}
	d.say("primary, by %s", strings.TrimPrefix(r.By, "by "))
	if !holds(r) || !d.tell(r, hooks.Primary) {
		_, err = next(ctx, d.Reports(), time.Now().Add(d.Limit), func(r hooks.Report) bool { return holds(r) && d.tell(r, hooks.Primary) })
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("primary again, but not everything is as it was: see wanfail status")
	}
	if err == nil {
		d.say("everything is as before")
	}
	return err
}

// tell says how the transition of this drill to role went, once it has ended. It
// reports whether it has.
func (d *run) tell(r hooks.Report, role hooks.Role) bool {
	for _, t := range r.Transitions {
		if t.Role == role && t.At.After(d.start) {
			for _, p := range t.Phases {
				d.say("  %s: %s after %v", role, p.Name, p.At.Round(10*time.Microsecond))
			}
			return true
		}
	}
	return false
}

// holds reports whether all WANs that should have an address do.
func holds(r hooks.Report) bool {
	for _, w := range r.WANs {
		if w.Role == hooks.Primary && !w.Address.IsValid() {
			return false
		}
	}
	return true
}

// next waits until a report is as wanted.
func next(ctx context.Context, reports <-chan hooks.Report, end time.Time, want func(hooks.Report) bool) (hooks.Report, error) {
	limit, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	for {
		select {
		case r, ok := <-reports:
			if !ok {
				return hooks.Report{}, errors.New("the keeper has ended")
			}
			if want(r) {
				return r, nil
			}
		case <-limit.Done():
			if ctx.Err() != nil {
				return hooks.Report{}, context.Cause(ctx)
			}
			return hooks.Report{}, context.DeadlineExceeded
		}
	}
}
