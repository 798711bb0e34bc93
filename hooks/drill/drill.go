// Package drill makes the two routers swap roles and back, and measures both.
//
// keepalived decides all the way: the drill only lowers this router's priority
// through a track_file. A peer that is there preempts; if none is, this router
// stays master. So the LAN always has one, even if the drill is killed.
//
// Why a track_file: keepalived reads it when it is written (inotify), so nothing
// is restarted or reloaded, no process has to live on for the LAN to have a
// master, and one file moves several instances at once. A stop of keepalived or a
// FAULT would take the master away first and look for another then.
package drill

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/view"
)

// Router is what a drill watches and moves.
type Router interface {
	// Lower lowers the priority, Restore puts it back.
	Lower() error
	Restore() error
	// Reports are the keeper's, as they change.
	Reports() <-chan control.Report
	// Sights tell who has the virtual addresses, as that changes; nil where the peer
	// cannot be asked from here.
	Sights() <-chan Sight
}

// Sight is who has a virtual address.
type Sight struct {
	Address netip.Addr
	Who     Holder
	At      time.Time
	// Missing is how long at most no router had the address before.
	Missing time.Duration
}

// Holder is who has a virtual address.
type Holder uint8

// Holders.
const (
	Here Holder = iota
	Nobody
	Peer
)

// Errors of a drill that ends early. The priority is back in each case.
var (
	ErrNotPrimary  = errors.New("this router is not primary: run the drill on the one that is")
	ErrNoPeer      = errors.New("the peer did not take over: this router stayed master all the time. Is keepalived running there, not in FAULT and without `nopreempt`? Does keepalived here know the track_file (reload it)?")
	ErrNoAnswer    = errors.New("this router became backup, but nobody answers for the virtual address")
	ErrNotNotified = errors.New("keepalived became backup, but wanfail did not: see wanfail doctor about the hooks")
	ErrNotHeld     = errors.New("the peer did not keep the role (it failed, or keepalived was restarted here): this router has it again")
	ErrNoReturn    = errors.New("this router did not become primary again: the peer still is. Is its priority not the lower one?")
	ErrKeeper      = errors.New("the keeper has ended, and with it the view of the drill")
)

// errLate ends a wait; every caller reports what it has waited for.
var errLate = errors.New("too late")

// Plan is how a drill goes.
type Plan struct {
	WANs    []string      // that move
	Watched []netip.Addr  // the virtual addresses that are seen
	Limit   time.Duration // for each of the two changes
	Hold    time.Duration // how long the peer stays master
	Stay    bool          // this router does not preempt: it stays backup
	Say     func(after time.Duration, text string)
}

// Run drills. However it ends, the priority is put back.
func Run(ctx context.Context, r Router, p Plan) error {
	d := &run{Router: r, Plan: p, start: time.Now(), who: map[netip.Addr]Holder{}, missing: map[netip.Addr][]time.Duration{}}
	if err := d.wait(ctx, p.Limit, func() bool { return d.reported }); err != nil {
		return d.why(ctx, err, errors.New("the keeper does not report"))
	}
	if err := d.fit(); err != nil {
		return err
	}
	d.before, d.start = d.now, time.Now()
	if err := r.Lower(); err != nil {
		return errors.Join(fmt.Errorf("lower the priority: %w", err), d.restore())
	}
	d.say("priority lowered to 1")
	failed := d.away(ctx)
	err := d.restore()
	over := ctx.Err() != nil || errors.Is(failed, ErrKeeper) || errors.Is(failed, ErrNoPeer)
	if err != nil || failed != nil && over {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, d.back(ctx))
}

func (d *run) restore() error {
	if err := d.Restore(); err != nil {
		return fmt.Errorf("put the priority back: %w", err)
	}
	d.restored = time.Now()
	d.say("priority put back")
	return nil
}

// run is a drill under way.
type run struct {
	Router
	Plan
	start       time.Time
	gone        time.Duration // how long the takeover took
	restored    time.Time     // the priority
	reported    bool
	left        bool // was backup
	before, now control.Report
	shown       time.Time // begin of the last transition that was printed
	who         map[netip.Addr]Holder
	missing     map[netip.Addr][]time.Duration
}

func (d *run) say(format string, args ...any) {
	d.Say(time.Since(d.start), fmt.Sprintf(format, args...))
}

// wait takes what is seen until done, or until limit is over.
func (d *run) wait(ctx context.Context, limit time.Duration, done func() bool) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !done() {
		select {
		case r, ok := <-d.Reports():
			if !ok && ctx.Err() == nil {
				return ErrKeeper
			} else if !ok {
				return context.Cause(ctx)
			}
			d.take(r)
		case s := <-d.Sights():
			d.see(s)
		case <-timer.C:
			return errLate
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// why is the error that a wait has ended with, late if it was too long.
func (d *run) why(ctx context.Context, err, late error) error {
	switch {
	case errors.Is(err, errLate):
		return late
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted (%w): this router takes the role back by itself, see wanfail status", err)
	}
	return err
}

// fit reports why this is no moment for a drill. The WANs that are the peer's
// already do not move.
func (d *run) fit() error {
	d.WANs = slices.DeleteFunc(slices.Clone(d.WANs), func(name string) bool {
		return !slices.ContainsFunc(d.now.WANs, func(w control.WAN) bool { return w.Name == name && w.Role == intent.Primary })
	})
	if len(d.WANs) == 0 {
		return ErrNotPrimary
	}
	for _, w := range d.now.WANs {
		if slices.Contains(d.WANs, w.Name) && !w.Address.IsValid() {
			return fmt.Errorf("%s has no lease: this router is not well enough for a drill, see wanfail status", w.Name)
		}
	}
	return nil
}

// take prints what is new in a report.
func (d *run) take(r control.Report) {
	last := d.now
	d.now, d.reported = r, true
	if d.before.WANs == nil {
		return
	}
	changed := map[intent.Role][]string{}
	for i, w := range r.WANs {
		if i < len(last.WANs) && last.WANs[i].Role != w.Role {
			changed[w.Role] = append(changed[w.Role], w.Name)
		}
	}
	for _, role := range []intent.Role{intent.Backup, intent.Primary} {
		if names := changed[role]; len(names) > 0 {
			d.left = d.left || role == intent.Backup
			by := ""
			if len(r.WANs) == 1 { // else it may be another's
				by = ", by " + view.Asked(r.By)
			}
			d.say("%s %s%s", strings.Join(names, ", "), role, by)
		}
	}
	for _, t := range r.Transitions {
		if !t.At.After(d.start) || !t.At.After(d.shown) {
			continue
		}
		d.shown = t.At
		for _, p := range t.Phases {
			note := ""
			if p.Error != "" {
				note = " (failed)"
			}
			d.say("  %s after %s%s", p.Name, view.Short(p.At), note)
		}
	}
}

// see prints who has a virtual address now.
func (d *run) see(s Sight) {
	was := d.who[s.Address]
	if was == s.Who {
		return
	}
	d.who[s.Address] = s.Who
	if s.Who != Nobody {
		d.missing[s.Address] = append(d.missing[s.Address], s.Missing)
	}
	switch {
	case s.Who == Here:
		d.say("this router has %s again", s.Address)
	case s.Who == Nobody && was == Here:
		d.say("this router has given up %s", s.Address)
	case s.Who == Nobody:
		d.say("the peer no longer answers for %s", s.Address)
	default:
		d.say("the peer answers for %s", s.Address)
	}
}

// all reports whether all WANs that move are of role, and some whether one is.
func (d *run) all(role intent.Role) bool  { return d.count(role) == len(d.WANs) }
func (d *run) some(role intent.Role) bool { return d.count(role) > 0 }

func (d *run) count(role intent.Role) (n int) {
	for _, w := range d.now.WANs {
		if slices.Contains(d.WANs, w.Name) && w.Role == role {
			n++
		}
	}
	return n
}

// held counts the virtual addresses that who has.
func (d *run) held(who Holder) (n int) {
	for _, a := range d.Watched {
		if d.who[a] == who {
			n++
		}
	}
	return n
}

// away waits until the peer has taken over, and as long as it is to hold the role.
func (d *run) away(ctx context.Context) error {
	err := d.wait(ctx, d.Limit, func() bool { return d.all(intent.Backup) && d.held(Peer) == len(d.Watched) })
	switch {
	case err == nil:
	case !errors.Is(err, errLate):
		return d.why(ctx, err, nil)
	case d.all(intent.Primary) && d.held(Here) == len(d.Watched):
		return ErrNoPeer
	case d.all(intent.Primary):
		return ErrNotNotified
	case d.all(intent.Backup):
		return ErrNoAnswer
	default:
		return errors.New("only a part has moved: do all instances that move have the lower priority on the peer?")
	}
	d.gone = time.Since(d.start)
	if len(d.Watched) == 0 {
		d.say("the peer is master, its advert says (no address to ask for)")
	}
	err = d.wait(ctx, d.Hold, func() bool { return d.some(intent.Primary) || d.held(Here) > 0 })
	if err == nil {
		return ErrNotHeld
	}
	return d.why(ctx, err, nil)
}

// back waits until everything is as before.
func (d *run) back(ctx context.Context) error {
	if d.Stay && !d.some(intent.Primary) {
		d.say("this router stays backup (nopreempt); a drill there moves it back")
		d.sum()
		return nil
	}
	err := d.wait(ctx, d.Limit, func() bool { return len(d.differs()) == 0 })
	switch {
	case err == nil:
		d.say("everything is as before")
		d.say("the takeover took %s, the return %s", view.Short(d.gone), view.Short(time.Since(d.restored)))
		d.sum()
		return nil
	case errors.Is(err, errLate) && !d.some(intent.Primary):
		return ErrNoReturn
	}
	return d.why(ctx, err, fmt.Errorf("primary again, but not as before: %s", strings.Join(d.differs(), "; ")))
}

// differs returns what is not as before the drill.
func (d *run) differs() (all []string) {
	for _, w := range d.before.WANs {
		at := slices.IndexFunc(d.now.WANs, func(n control.WAN) bool { return n.Name == w.Name })
		switch {
		case at < 0:
			all = append(all, w.Name+" is not there")
		case d.now.WANs[at].Role != w.Role:
			all = append(all, w.Name+" is "+d.now.WANs[at].Role.String())
		case d.now.WANs[at].Address != w.Address && !d.now.WANs[at].Address.IsValid():
			all = append(all, w.Name+" has no address yet")
		case d.now.WANs[at].Address != w.Address:
			all = append(all, fmt.Sprintf("%s has %s, it had %s", w.Name, d.now.WANs[at].Address, w.Address))
		}
	}
	for _, s := range d.before.Services {
		at := slices.IndexFunc(d.now.Services, func(n control.Service) bool { return n.Name == s.Name })
		if at < 0 || d.now.Services[at].Running != s.Running {
			all = append(all, s.Name+" is not as before")
		}
	}
	for _, a := range d.Watched {
		if d.who[a] != Here {
			all = append(all, a.String()+" is not here")
		}
	}
	// A transition is reported when all its parts have ended.
	if len(all) == 0 && d.left && !slices.ContainsFunc(d.now.Transitions, func(t control.Transition) bool {
		return t.Role == intent.Primary && t.At.After(d.restored)
	}) {
		all = append(all, "the change of role has not ended")
	}
	return all
}

// sum prints for how long the LAN was without a master, which is the purpose of a
// drill.
func (d *run) sum() {
	for _, a := range d.Watched {
		var parts []string
		for _, m := range d.missing[a] {
			parts = append(parts, view.Short(m))
		}
		d.say("%s unanswered for at most %s", a, strings.Join(parts, " and "))
	}
}
