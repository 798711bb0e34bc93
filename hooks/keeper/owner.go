package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/services"
)

// watchOwner watches a process that intents depend on.
func (k *Keeper) watchOwner(ctx context.Context, w router.Watch) {
	ctx, cancel := context.WithCancel(ctx)
	k.owners[w.Process] = cancel
	gone := func(why string) { k.post(router.Gone{Process: w.Process, Why: why}) }
	ended := func() { gone(router.Exited) }
	if w.FIFO != "" {
		ended = func() { k.standIn(ctx, w, gone) }
	}
	if w.FIFO == "" { // its keepalived is in the same unit
		k.watchUnit(ctx, w.Process, func() { gone("is being stopped") })
	}
	err := k.watchDeath(ctx, w.Process, ended)
	switch {
	case errors.Is(err, intent.ErrGone):
		k.tasks.Go(ended)
	case err != nil:
		k.log.Error("cannot watch keepalived: its end would go unnoticed if it does not notify", "pid", w.Process.PID, "error", err)
	}
}

// standIn reads keepalived's FIFO in the place of a reader that has ended, until
// another one takes over, which ends ctx. On a reload keepalived replaces its
// reader and repeats no state; on a busy machine it is long before that one reads.
// One that was killed is not replaced.
func (k *Keeper) standIn(ctx context.Context, w router.Watch, gone func(why string)) {
	alive, free := w.Owner.Alive()
	defer free()
	clock := intent.NewNoticeClock(w.Owner)
	take := func(n keepalived.Notice) {
		i := intent.Intent{Scope: n.Scope, State: n.State, Owner: w.Owner, Channel: w.Process, FIFO: w.FIFO, At: time.Now()}
		switch intent.ParseState(n.State) {
		case intent.ToPrimary:
			i.Role = intent.Primary
		case intent.ToBackup:
		case intent.ToAnnounce:
			k.do(func() { k.announce(i) })
			return
		default:
			return
		}
		var err error
		if i.Token, err = clock.Next(); err != nil {
			k.log.Error("cannot order a notification", "error", err)
			return
		}
		k.do(func() {
			k.request(i, false)
			k.unrecorded = true
		})
	}
	name := fmt.Sprintf("the reader[%d] of keepalived's FIFO has ended; the keeper reads it until keepalived is reloaded", w.Process.PID)
	k.do(func() { k.standIns[w.Process] = name })
	defer k.do(func() { delete(k.standIns, w.Process) })
	err := keepalived.StandIn(ctx, w.FIFO, alive, take, func(err error) {
		k.log.Warn("a line of the FIFO is not keepalived's", "error", err)
	})
	if err != nil {
		k.log.Error("keepalived's FIFO has no reader, and cannot be read in its place", "error", err)
		gone(router.Exited)
	}
}

// watchUnit calls stopping once the service manager is about to end the unit in
// which keepalived runs. That is earlier than the stop hook, which may be missing
// from the configuration or be killed, and much earlier than keepalived's end,
// which takes a second from the first SIGTERM.
func (k *Keeper) watchUnit(ctx context.Context, p intent.Process, stopping func()) {
	manager, ok := k.Services.(interface {
		Watch(ctx context.Context, names []string) (<-chan string, error)
	})
	unit := p.Unit()
	if !ok || unit == "" {
		return
	}
	k.tasks.Go(func() {
		changes, err := manager.Watch(ctx, []string{unit})
		if err != nil {
			if ctx.Err() == nil {
				k.log.Debug("cannot watch keepalived's unit, watching its process alone", "unit", unit, "error", err)
			}
			return
		}
		// Nothing may come for hours: look once before the first change.
		for ok := true; ok; _, ok = <-changes {
			if state, err := k.Services.State(ctx, unit); err == nil && state == services.Stopping {
				stopping()
			}
		}
	})
}

// watchDeath calls dead once the process has ended, unless ctx ends first. The
// kernel reports that through a pidfd, so neither a SIGKILL nor another process
// with the same id goes unnoticed. A process that has ended already is intent.ErrGone.
func (k *Keeper) watchDeath(ctx context.Context, p intent.Process, dead func()) error {
	fd, err := p.Open()
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", p.PID))
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	k.tasks.Go(func() {
		defer f.Close()
		defer stop()
		err := raw.Read(intent.Ended)
		if err == nil && ctx.Err() == nil {
			dead()
		}
	})
	return nil
}
