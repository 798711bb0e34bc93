package keeper

import (
	"context"
	"path/filepath"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/services"
)

// aloneWait is how long a hook without a keeper waits for another one, or for a
// keeper that is just starting.
const aloneWait = 500 * time.Millisecond

// Alone makes the router backup without a keeper, as far as the intents want
// that. Silence comes first and waits for nothing. With finish the call also
// stays until links that have to linger are deleted; without, the next keeper
// does that.
func Alone(ctx context.Context, o Options, finish bool) hooks.Answer {
	l := lone{Options: o, start: time.Now()}
	unlock, err := hooks.LockWithin(ctx, filepath.Join(o.RunDir, "keeper.lock"), aloneWait)
	if err == nil {
		defer unlock()
	} // else: silent twice is better than not at all
	lingers := l.silence(ctx)
	_, err = o.Network.PurgeOrphans(ctx, links(o.Config.WANs))
	l.problem(err)
	l.services(ctx)
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

// lone is one run of Alone.
type lone struct {
	Options
	start    time.Time
	phases   []hooks.Phase
	problems []string
	stays    bool // a WAN is another instance's, and primary
}

// silence mutes what should be silent, deletes what may be deleted at once, and
// returns the rest.
func (l *lone) silence(ctx context.Context) (lingers []config.WAN) {
	var intents hooks.Intents
	store, err := hooks.OpenStore(l.RunDir)
	if err == nil {
		intents, err = store.Load()
	}
	l.problem(err)
	for _, w := range l.Config.WANs {
		if role, _ := wanted(intents, w.Instance, hooks.Process.Gone); role == hooks.Primary {
			l.stays = true
			continue
		}
		start := time.Now()
		err := l.Network.Mute(ctx, link(w))
		l.phase("silent "+w.Name, start, err)
		if seen, seeErr := l.Network.Observe(ctx, link(w)); l.Replica != nil && err == nil && seeErr == nil && seen.Owned {
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
	l.phase("deleted "+w.Name, start, err)
}

// services stops them unless a WAN stays primary.
func (l *lone) services(ctx context.Context) {
	if l.Services == nil || l.stays {
		return
	}
	for _, r := range services.Converge(ctx, l.Services, installed(ctx, l.Options), false, serviceLimit) {
		if r.Changed || r.Err != nil {
			l.phase("stop "+r.Name, time.Now().Add(-r.Took), r.Err)
		}
	}
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
