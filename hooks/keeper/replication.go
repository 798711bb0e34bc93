package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/keeper/router"
)

// replica drives the replication of connections to the peer (conntrackd).
type replica interface {
	// Commit puts the peer's connections into the kernel. They are there when it
	// returns nil. It gives up soon on a replication that does not answer.
	Commit(ctx context.Context) error
	// Resume makes this router the one that sends, once its address is up.
	Resume(ctx context.Context) error
	// Yield prepares for the peer to take over.
	Yield(ctx context.Context) error
}

// otherLimit bounds the jobs that no address waits for. For a commit that hangs or
// a replication that is down the replica itself has a shorter limit
// (conntrackd.Patience, 200 ms).
const otherLimit = 5 * time.Second

// replication runs the replica's jobs beside the loop, one at a time and in
// order. A job of a newer epoch ends those of older ones.
type replication struct {
	replica replica
	log     *slog.Logger
	report  func(router.Replicated) // must not block
	jobs    *queue[router.Replicate]

	mu    sync.Mutex
	epoch int                // of the latest job
	abort context.CancelFunc // ends the current job
}

func newReplication(r replica, log *slog.Logger, report func(router.Replicated)) *replication {
	return &replication{replica: r, log: log, report: report, jobs: newQueue(mergeJobs), abort: func() {}}
}

// mergeJobs drops jobs of an earlier role.
func mergeJobs(waiting []router.Replicate, j router.Replicate) []router.Replicate {
	waiting = slices.DeleteFunc(waiting, func(o router.Replicate) bool { return o.Epoch < j.Epoch })
	return append(waiting, j)
}

func (r *replication) add(j router.Replicate) {
	r.mu.Lock()
	if j.Epoch != r.epoch {
		r.epoch = j.Epoch
		r.abort()
	}
	r.mu.Unlock()
	r.jobs.put(j)
}

// run works until ctx ends.
func (r *replication) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.jobs.wake:
			for _, j := range r.jobs.take() {
				r.work(ctx, j)
			}
		}
	}
}

func (r *replication) work(ctx context.Context, j router.Replicate) {
	call, limit := r.replica.Commit, router.CommitLimit
	switch j.Job {
	case router.Resume:
		call, limit = r.replica.Resume, otherLimit
	case router.Yield:
		call, limit = r.replica.Yield, otherLimit
	}
	r.mu.Lock()
	if j.Epoch != r.epoch {
		r.mu.Unlock()
		return // of an earlier role
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	r.abort = cancel
	r.mu.Unlock()
	defer cancel()
	start := time.Now()
	err := call(ctx)
	took, ended := time.Since(start), dhcp.BootTime()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		r.log.Warn("connections may be lost: see conntrackd's log", "step", string(j.Job), "error", err)
	}
	r.report(router.Replicated{Job: j.Job, Epoch: j.Epoch, Took: took, Ended: ended, Err: err})
}
