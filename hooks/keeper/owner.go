package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/services"
)

// watchOwner watches a process that intents depend on. Its end counts after grace.
func (k *Keeper) watchOwner(ctx context.Context, p intent.Process, grace time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	k.owners[p] = cancel
	gone := func(why string) { k.post(router.Gone{Process: p, Why: why}) }
	k.watchUnit(ctx, p, func() { gone("is being stopped") })
	err := k.watchDeath(ctx, p, func() {
		select {
		case <-time.After(grace):
			gone(router.Exited)
		case <-ctx.Done():
		}
	})
	switch {
	case errors.Is(err, intent.ErrGone):
		gone(router.Exited)
	case err != nil:
		k.log.Error("cannot watch keepalived: its end would go unnoticed if it does not notify", "pid", p.PID, "error", err)
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
		// A pidfd cannot be read, it polls readable when its process ends: the first
		// call says "not yet", the second comes when the runtime's poller wakes.
		waited := false
		err := raw.Read(func(uintptr) (done bool) {
			done, waited = waited, true
			return done
		})
		if err == nil && ctx.Err() == nil {
			dead()
		}
	})
	return nil
}
