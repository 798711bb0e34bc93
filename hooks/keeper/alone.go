package keeper

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/services"
)

// aloneWait is how long a hook without a keeper waits for another one, or for a
// keeper that is just starting.
const aloneWait = 500 * time.Millisecond

// Alone makes the router backup without a keeper, as far as i and the recorded
// intents request that. Muting comes first and waits for nothing. With finish the
// call also waits until links that have to linger are deleted; without, the next
// keeper deletes them.
//
// It holds the keeper's lock while it deletes links, and not while services stop:
// a keeper that starts meanwhile takes over at once.
func Alone(ctx context.Context, o Options, i intent.Intent, finish bool) control.Answer {
	l := newLone(o, i)
	l.silence(ctx)
	unlock, _ := o.RunDir.KeeperLock().AcquireWithin(ctx, aloneWait)
	// No lock: a keeper that hangs is in the way, and what it holds must go all the same.
	l.clear(ctx)
	_, err := o.Network.PurgeOrphans(ctx, links(o.Config.WANs))
	l.problem(err)
	if unlock != nil {
		unlock()
	}
	l.platform(ctx)
	if finish {
		l.finish(ctx)
	}
	return l.answer()
}

// Silence stops the transmission of the WANs that are backup according to i and the
// recorded intents. It is safe beside a keeper that does the same.
func Silence(ctx context.Context, o Options, i intent.Intent) error {
	l := newLone(o, i)
	l.silence(ctx)
	if len(o.Config.WANs) == 0 && !l.keeperKnows(ctx) { // without a configuration the mark tells which links are wanfail's
		l.problem(o.Network.MuteOrphans(ctx, nil))
	}
	for _, w := range l.wans {
		if d, ok := w.next.(wan.Done); ok {
			l.problem(d.Err)
		}
	}
	if len(l.problems) > 0 {
		return errors.New(strings.Join(l.problems, "; "))
	}
	return nil
}

// keeperKnows reports whether a keeper runs and some WAN is to be primary according
// to the record. Which of the links that is only the keeper knows, where the
// configuration cannot be read any more; it reads the intent in the record, even if
// this hook does not reach it.
func (l *lone) keeperKnows(ctx context.Context) bool {
	store, err := intent.OpenStore(l.RunDir)
	if err != nil {
		return false
	}
	intents, err := store.Load()
	if err != nil {
		return false
	}
	intents, _ = intents.With(l.intent)
	primary := slices.ContainsFunc(intents, func(i intent.Intent) bool {
		return i.Role == intent.Primary && (i.Owner == (intent.Process{}) || !i.Owner.Gone())
	})
	return primary && answers(ctx, l.RunDir)
}

// lone executes in a hook what the machines decide.
type lone struct {
	Options
	intent   intent.Intent
	start    time.Time
	wans     []*loneWAN
	phases   []control.Phase
	problems []string
}

// loneWAN is a WAN that is driven by a hook.
type loneWAN struct {
	*uplink
	next wan.Event // that its machine has not taken, nil: none
}

func newLone(o Options, i intent.Intent) *lone {
	l := &lone{Options: o, intent: i, start: time.Now()}
	for _, w := range o.Config.WANs {
		l.wans = append(l.wans, &loneWAN{uplink: newUplink(w, o.Network, o.RunDir.Lease(w.Name), nil, o.Log, nil)})
	}
	return l
}

// decision is what the record means together with the given intent, which is
// missing there if it could not be written.
func (l *lone) decision() router.Decision {
	var intents intent.Intents
	store, err := intent.OpenStore(l.RunDir)
	if err == nil {
		intents, err = store.Load()
	}
	if err != nil && len(l.problems) == 0 {
		l.problem(err)
	}
	intents, _ = intents.With(l.intent)
	return router.Decide(intents, instances(l.Config), goneNow)
}

// backups are the WANs that are to be backup.
func (l *lone) backups() (all []*loneWAN) {
	for n, v := range l.decision().WANs {
		if v.Role == intent.Backup {
			all = append(all, l.wans[n])
		}
	}
	return all
}

// silence orders them to be backup and takes the first step of that.
func (l *lone) silence(ctx context.Context) {
	for _, w := range l.backups() {
		w.next = w.once(ctx, wan.Ordered{Order: l.order()})
	}
}

func (l *lone) order() wan.Order {
	o := wan.Order{Epoch: 1, Role: intent.Backup}
	if l.Replica != nil {
		o.Linger = router.Lingering
	}
	return o
}

// clear takes all other steps. Time has passed since silence: a newer request may
// want some of the WANs back.
func (l *lone) clear(ctx context.Context) {
	for _, w := range l.backups() {
		if w.next == nil { // it was to be primary a moment ago
			w.next = wan.Ordered{Order: l.order()}
		}
		w.step(ctx, w.next)
		w.next = nil
	}
}

// platform stops the services and has the publishers withdraw the leases, unless a
// keeper appears, which does that.
func (l *lone) platform(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() {
		if l.awaitKeeper(ctx) {
			cancel()
		}
	})
	d := l.decision()
	var withdrawals sync.WaitGroup
	errs := make(chan error, len(l.Publishers)*len(l.wans))
	for n, w := range l.wans {
		if d.WANs[n].Role == intent.Primary {
			continue
		}
		for _, pub := range l.Publishers {
			withdrawals.Go(func() { errs <- call(ctx, pub, w.wan, nil) })
		}
	}
	if d.Role == intent.Backup && l.Services != nil {
		for _, r := range services.Converge(ctx, l.Services, installed(ctx, l.Options), false, serviceLimit) {
			if ctx.Err() == nil && (r.Changed || r.Err != nil) {
				l.phase(control.Phase{Name: control.PhaseStop + " " + r.Name, Took: r.Took, At: time.Since(l.start)}, r.Err)
			}
		}
	}
	withdrawals.Wait()
	close(errs)
	for err := range errs {
		if ctx.Err() == nil {
			l.problem(err)
		}
	}
}

// awaitKeeper reports whether a keeper has begun to listen before ctx ended.
func (l *lone) awaitKeeper(ctx context.Context) bool {
	watch, err := rundir.WatchDir(l.RunDir.String(), rundir.SocketFile)
	if err != nil {
		return false
	}
	defer watch.Close()
	return watch.Wait(ctx) == nil
}

// lingers reports whether the link is to be deleted later.
func (w *loneWAN) lingers() bool {
	return w.next == nil && w.machine.State().WAN.State == control.StateMuted
}

// finish deletes links that had to linger, unless a keeper does that.
func (l *lone) finish(ctx context.Context) {
	for _, w := range l.wans {
		if !w.lingers() {
			continue
		}
		select {
		case <-time.After(w.machine.Wake() - dhcp.BootTime()):
		case <-ctx.Done():
			return
		}
	}
	if answers(ctx, l.RunDir) {
		return
	}
	unlock, err := l.RunDir.KeeperLock().AcquireWithin(ctx, aloneWait)
	if err != nil {
		return // one that is starting
	}
	defer unlock()
	for _, w := range l.backups() {
		if w.lingers() {
			w.step(ctx, wan.Woke{})
		}
	}
}

// answer is what a person or keepalived's log is told.
func (l *lone) answer() control.Answer {
	for _, w := range l.wans {
		for _, p := range w.machine.State().Phases {
			p.Name = router.PhaseOf(len(l.wans), w.wan.Name, p.Name)
			l.phases = append(l.phases, p)
			if p.Error != "" {
				l.problem(errors.New(p.Error))
			}
		}
	}
	slices.SortStableFunc(l.phases, func(a, b control.Phase) int { return int(a.At - b.At) })
	outcome := control.Reached
	if len(l.problems) > 0 {
		outcome = control.Degraded
	}
	return control.Answer{
		Outcome: outcome, Role: intent.Backup, Took: time.Since(l.start),
		Phases: l.phases, Problems: l.problems,
	}
}

func (l *lone) phase(p control.Phase, err error) {
	if err != nil {
		p.Error = err.Error()
	}
	l.phases = append(l.phases, p)
	l.problem(err)
}

func (l *lone) problem(err error) {
	if err != nil && !slices.Contains(l.problems, err.Error()) {
		l.problems = append(l.problems, err.Error())
	}
}
