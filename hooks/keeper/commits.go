package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// replica drives the replication of connections to the peer (conntrackd).
type replica interface {
	// Commit puts the peer's connections into the kernel. They are there when it
	// returns nil. It gives up soon on a replication that gives no sign of life.
	Commit(ctx context.Context) error
	// Resume makes this router the one that sends, once its address is up.
	Resume(ctx context.Context) error
	// Yield prepares for the peer to take over.
	Yield(ctx context.Context) error
}

// commitLimit is the longest that a replication which is at work may delay the
// address: with 100000 connections a commit takes a second, and an address
// without them is the end of each. For one that hangs or is down the replica
// itself has less patience (conntrackd.Patience, 200 ms). otherLimit is for what
// nobody waits for.
const (
	commitLimit = 3 * time.Second
	otherLimit  = 5 * time.Second
)

// commits runs the replication's work beside the loop, one job at a time and in
// order. A change of role ends the job at hand.
type commits struct {
	replica replica // nil: none
	log     *slog.Logger
	report  func(epoch int, p hooks.Phase) // must not block
	jobs    chan job

	mu    sync.Mutex
	epoch int                // of the latest change of role
	abort context.CancelFunc // ends the job at hand
}

// job is one call of the replica.
type job struct {
	epoch int
	name  string
	limit time.Duration
	call  func(context.Context) error
	done  func()
	since time.Time
}

func newCommits(r replica, log *slog.Logger, report func(int, hooks.Phase)) *commits {
	return &commits{replica: r, log: log, report: report, jobs: make(chan job, 64), abort: func() {}}
}

// openGate is a gate that nobody has to wait at.
func openGate() <-chan struct{} {
	gate := make(chan struct{})
	close(gate)
	return gate
}

// promote commits the peer's connections and returns a gate that opens when they
// are in the kernel, or when a replication that does not work has cost enough.
func (c *commits) promote(epoch int) (gate <-chan struct{}) {
	if c.replica == nil {
		return openGate()
	}
	ch := make(chan struct{})
	release := sync.OnceFunc(func() { close(ch) })
	time.AfterFunc(commitLimit, release)
	c.add(job{epoch: epoch, name: hooks.PhaseCommit, limit: commitLimit, call: c.replica.Commit, done: release})
	return ch
}

// resume makes this router the sending one. It follows promote.
func (c *commits) resume(epoch int) {
	if c.replica != nil {
		c.add(job{epoch: epoch, name: hooks.PhaseResync, limit: otherLimit, call: c.replica.Resume, done: func() {}})
	}
}

// demote prepares for the peer to take over.
func (c *commits) demote(epoch int) {
	if c.replica != nil {
		c.add(job{epoch: epoch, name: hooks.PhaseYield, limit: otherLimit, call: c.replica.Yield, done: func() {}})
	}
}

func (c *commits) add(j job) {
	c.mu.Lock()
	if j.epoch != c.epoch {
		c.epoch = j.epoch
		c.abort()
	}
	c.mu.Unlock()
	j.since = time.Now()
	select {
	case c.jobs <- j:
	default:
		// 64 changes of role while one job hung: the newest will come around again.
		j.done()
		c.report(j.epoch, hooks.Phase{Name: j.name, Error: "conntrackd is far behind"})
	}
}

// run works until ctx ends.
func (c *commits) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-c.jobs:
			c.work(ctx, j)
		}
	}
}

func (c *commits) work(ctx context.Context, j job) {
	defer j.done()
	c.mu.Lock()
	if j.epoch != c.epoch {
		c.mu.Unlock()
		return // of a role that is over
	}
	ctx, cancel := context.WithTimeoutCause(ctx, j.limit, fmt.Errorf("no answer within %v", j.limit))
	c.abort = cancel
	c.mu.Unlock()
	defer cancel()
	start := time.Now()
	err := j.call(ctx)
	p := hooks.Phase{Name: j.name, Took: time.Since(start), At: time.Since(j.since)}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		p.Error = err.Error()
		c.log.Warn("connections may be lost: see conntrackd's log", "step", j.name, "error", err)
	}
	c.report(j.epoch, p)
}
