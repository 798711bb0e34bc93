package keeper

import (
	"context"
	"fmt"
	"os"

	"github.com/wanfail/wanfail/hooks"
)

// watchDeath calls dead once the process has ended, unless ctx ends first. The
// kernel tells through a pidfd, so neither a SIGKILL nor another process with
// the same id goes unnoticed. A process that is gone already is hooks.ErrGone.
func watchDeath(ctx context.Context, p hooks.Process, dead func()) error {
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
	go func() {
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
	}()
	return nil
}
