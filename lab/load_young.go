package lab

import (
	"context"
	"sync"
	"time"
)

// Arrivals are sessions that begin one after the other, as in daily life, where
// some are always young.
type Arrivals struct {
	load  *Load
	stop  context.CancelFunc // of beginning
	begun sync.WaitGroup
	dials sync.WaitGroup
	abort context.CancelFunc // of handshakes
}

// StartArrivals begins a session each so often until End. Interval, between two
// packets of a session, is as in LoadOptions.
func (l *Lab) StartArrivals(ctx context.Context, each, interval time.Duration) (*Arrivals, error) {
	load, err := l.StartLoad(ctx, LoadOptions{Interval: interval})
	if err != nil {
		return nil, err
	}
	a := &Arrivals{load: load}
	begin, stop := context.WithCancel(ctx)
	dial, abort := context.WithCancel(ctx)
	a.stop, a.abort = stop, abort
	a.begun.Go(func() {
		tick := time.NewTicker(each)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-begin.Done():
				return
			case <-tick.C:
			}
			s := &session{push: n%2 == 0}
			load.sessions = append(load.sessions, s)
			a.dials.Go(func() {
				if load.open(dial, s) == nil {
					load.run(s, nil)
				}
			})
		}
	})
	return a, nil
}

// End lets no more begin.
func (a *Arrivals) End() {
	a.stop()
	a.begun.Wait()
}

// Settle ends the beginning of sessions and reports as Load.Settle does.
func (a *Arrivals) Settle(ctx context.Context, after time.Time) LoadReport {
	a.End()
	return a.load.Settle(ctx, after)
}

// Stop ends all sessions.
func (a *Arrivals) Stop() {
	a.End()
	a.abort()
	a.dials.Wait()
	a.load.Stop()
}
