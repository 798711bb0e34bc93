package keeper

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/services"
)

// aloneWait is how long a hook without a keeper waits for another one, or for a
// keeper that is just starting.
const aloneWait = 500 * time.Millisecond

// Alone makes the router backup without a keeper, as far as i and the recorded
// intents want that. Silence comes first and waits for nothing. With finish the
// call also stays until links that have to linger are deleted; without, the next
// keeper does that.
func Alone(ctx context.Context, o Options, i hooks.Intent, finish bool) hooks.Answer {
	l := lone{Options: o, intent: i, start: time.Now()}
	l.silence(ctx)
	unlock, err := hooks.LockWithin(ctx, o.RunDir.KeeperLock(), aloneWait)
	if err == nil {
		defer unlock()
	} // else: a keeper that hangs is in the way, and what it holds must go all the same
	lingers := l.clear(ctx)
	_, err = o.Network.PurgeOrphans(ctx, links(o.Config.WANs))
	l.problem(err)
	l.platform(ctx)
	if finish && len(lingers) > 0 {
		select {
		case <-time.After(lingering):
		case <-ctx.Done():
		}
		for _, w := range lingers {
			l.remove(ctx, w)
		}
	}
	outcome := hooks.Reached
	if len(l.problems) > 0 {
		outcome = hooks.Degraded
	}
	return hooks.Answer{
		Outcome: outcome, Role: hooks.Backup, Took: time.Since(l.start),
		Phases: l.phases, Problems: l.problems,
	}
}

// Silence takes the voice of the WANs that i and the recorded intents want to be
// silent. It is safe beside a keeper that does the same.
func Silence(ctx context.Context, o Options, i hooks.Intent) error {
	l := lone{Options: o, intent: i, start: time.Now()}
	l.silence(ctx)
	if len(o.Config.WANs) == 0 { // no configuration to go by, but there is the mark
		_, err := o.Network.PurgeOrphans(ctx, nil)
		l.problem(err)
	}
	if len(l.problems) > 0 {
		return errors.New(strings.Join(l.problems, "; "))
	}
	return nil
}

// lone is one run of Alone.
type lone struct {
	Options
	intent   hooks.Intent
	start    time.Time
	phases   []hooks.Phase
	problems []string
	stays    bool // a WAN is another instance's, and primary
}

// backups are the WANs that must be silent. The intent at hand may be missing
// from the record, which could not be written then.
func (l *lone) backups() (wans []config.WAN) {
	var intents hooks.Intents
	store, err := hooks.OpenStore(l.RunDir)
	if err == nil {
		intents, err = store.Load()
	}
	if err != nil && len(l.problems) == 0 {
		l.problem(err)
	}
	intents, _ = intents.With(l.intent)
	l.stays = false
	for _, w := range l.Config.WANs {
		if wanted(intents, w.Instance, goneNow).role == hooks.Primary {
			l.stays = true
		} else {
			wans = append(wans, w)
		}
	}
	return wans
}

func (l *lone) silence(ctx context.Context) {
	for _, w := range l.backups() {
		start := time.Now()
		l.phase(l.named(w, hooks.PhaseSilent), start, l.Network.Mute(ctx, link(w)))
	}
}

// clear deletes what may be deleted at once and returns the rest. Time has
// passed since silence: a newer wish may want some of it back.
func (l *lone) clear(ctx context.Context) (lingers []config.WAN) {
	for _, w := range l.backups() {
		seen, err := l.Network.Observe(ctx, link(w))
		if l.Replica != nil && err == nil && seen.Owned && seen.Muted {
			lingers = append(lingers, w)
		} else {
			l.remove(ctx, w)
		}
	}
	return lingers
}

func (l *lone) remove(ctx context.Context, w config.WAN) {
	start := time.Now()
	_, err := l.Network.Purge(ctx, link(w))
	l.phase(l.named(w, hooks.PhaseDeleted), start, err)
}

// platform stops the services and takes back what the publishers were told.
func (l *lone) platform(ctx context.Context) {
	var withdrawals sync.WaitGroup
	errs := make(chan error, len(l.Publishers)*len(l.Config.WANs))
	for _, w := range l.backups() {
		for _, pub := range l.Publishers {
			withdrawals.Go(func() { errs <- call(ctx, pub, w, nil) })
		}
	}
	l.services(ctx)
	withdrawals.Wait()
	close(errs)
	for err := range errs {
		l.problem(err)
	}
}

// services stops them unless a WAN stays primary.
func (l *lone) services(ctx context.Context) {
	if l.Services == nil || l.stays {
		return
	}
	for _, r := range services.Converge(ctx, l.Services, installed(ctx, l.Options), false, serviceLimit) {
		if r.Changed || r.Err != nil {
			l.phase(hooks.PhaseStop+" "+r.Name, time.Now().Add(-r.Took), r.Err)
		}
	}
}

// named is the name of a phase of a WAN.
func (l *lone) named(w config.WAN, phase string) string {
	return phaseOf(len(l.Config.WANs), w.Name, phase)
}

func (l *lone) phase(name string, start time.Time, err error) {
	p := hooks.Phase{Name: name, Took: time.Since(start), At: time.Since(l.start)}
	if err != nil {
		p.Error = err.Error()
	}
	l.phases = append(l.phases, p)
	l.problem(err)
}

func (l *lone) problem(err error) {
	if err != nil {
		l.problems = append(l.problems, err.Error())
	}
}
