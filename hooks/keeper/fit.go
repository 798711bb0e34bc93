package keeper

import (
	"context"
	"time"

	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/keeper/router"
)

const (
	// Where keepalived's start is no event (it is one with systemd), it is looked
	// for so often while it does not run.
	fitOften = 2 * time.Second
	// fitSeldom is how old what is known of a boot's services may become.
	fitSeldom = 30 * time.Second
)

// watchFitness looks, until ctx ends, whether keepalived runs and what a boot
// would start, and tells the loop of changes. The end of keepalived is an event.
func (k *Keeper) watchFitness(ctx context.Context) {
	var events <-chan string
	names := fitness.Names(k.Replica != nil)
	if m, ok := k.Services.(interface {
		Watch(ctx context.Context, names []string) (<-chan string, error)
	}); ok {
		if changes, err := m.Watch(ctx, names); err == nil {
			events = changes
		} else {
			k.log.Debug("cannot watch keepalived's service, looking now and then instead", "error", err)
		}
	}
	var last *fitness.Facts
	for ctx.Err() == nil {
		facts := fitness.Look(ctx, k.Services, names)
		if last == nil || !facts.Equal(*last) {
			last = &facts
			k.do(func() { k.fitness = &facts })
		}
		k.awaitFitness(ctx, facts, &events)
	}
}

// awaitFitness returns when it is time for another look.
func (k *Keeper) awaitFitness(ctx context.Context, facts fitness.Facts, events *<-chan string) {
	ctx, cancel := context.WithTimeout(ctx, fitSeldom)
	defer cancel()
	ended := make(chan struct{})
	if facts.Process.PID == 0 || k.watchDeath(ctx, facts.Process, func() { close(ended) }) != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, fitOften)
		defer stop()
	}
	select {
	case <-ctx.Done():
	case <-ended:
	case _, ok := <-*events:
		if !ok {
			*events = nil
		}
	}
}

// watchReplica follows the health of what replicates the connections, where it
// can tell.
func (k *Keeper) watchReplica(ctx context.Context) {
	if w, ok := k.Replica.(interface {
		Watch(ctx context.Context, tell func(problem error))
	}); ok {
		w.Watch(ctx, func(problem error) { k.post(router.ReplicaHealth{Problem: problem}) })
	}
}
