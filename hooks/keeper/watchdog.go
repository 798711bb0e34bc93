package keeper

import (
	"context"
	"time"
)

// watchdog tells the supervisor, each time after a round through the loop and all
// WANs, that the keeper does not hang. A WAN may be busy for seconds, as with a
// kernel whose routing lock is held; the supervisor has patience for several
// rounds.
func (k *Keeper) watchdog(ctx context.Context) error {
	for {
		rounds := make(chan struct{}, len(k.uplinks)+1)
		made := func() { rounds <- struct{}{} }
		k.do(func() {
			for _, u := range k.uplinks {
				u.rounds <- made // empty: it has taken the one before
			}
			k.asked = true
			made()
		})
		for range cap(rounds) {
			select {
			case <-rounds:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		k.Alive()
		select {
		case <-time.After(k.AliveEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
