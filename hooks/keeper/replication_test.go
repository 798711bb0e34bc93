package keeper

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wanfail/wanfail/hooks/keeper/router"
)

// hanging is a replica whose calls end with their context alone.
type hanging struct{ called chan router.Job }

func (h hanging) wait(ctx context.Context, j router.Job) error {
	h.called <- j
	<-ctx.Done()
	return ctx.Err()
}
func (h hanging) Commit(ctx context.Context) error { return h.wait(ctx, router.Commit) }
func (h hanging) Resume(ctx context.Context) error { return h.wait(ctx, router.Resume) }
func (h hanging) Yield(ctx context.Context) error  { return h.wait(ctx, router.Yield) }

// A job that hangs ends with its limit, or with the next change of role, and the
// next one is done at once.
func TestReplicationJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hanging{make(chan router.Job)}
		reports := make(chan router.Replicated, 8)
		r := newReplication(h, slog.New(slog.DiscardHandler), func(e router.Replicated) { reports <- e })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx) }()
		start := time.Now()
		calls := func(j router.Job, after time.Duration) {
			t.Helper()
			if got := <-h.called; got != j || time.Since(start) != after {
				t.Errorf("%s after %v, want %s after %v", got, time.Since(start), j, after)
			}
		}
		reported := func(j router.Job, epoch int, why string) {
			t.Helper()
			if e := <-reports; e.Job != j || e.Epoch != epoch || e.Err == nil || !strings.Contains(e.Err.Error(), why) {
				t.Errorf("reported %+v, want %s of %d: %s", e, j, epoch, why)
			}
		}
		r.add(router.Replicate{Job: router.Commit, Epoch: 2})
		calls(router.Commit, 0)
		reported(router.Commit, 2, "no answer within 3s")
		r.add(router.Replicate{Job: router.Resume, Epoch: 2})
		calls(router.Resume, router.CommitLimit)
		time.Sleep(time.Second)
		r.add(router.Replicate{Job: router.Yield, Epoch: 3})
		calls(router.Yield, router.CommitLimit+time.Second)
		reported(router.Resume, 2, context.Canceled.Error())
		r.add(router.Replicate{Job: router.Commit, Epoch: 4})
		calls(router.Commit, router.CommitLimit+time.Second)
		reported(router.Yield, 3, context.Canceled.Error())
		// Two that wait together: the second is of a role that is over when its turn comes.
		r.add(router.Replicate{Job: router.Commit, Epoch: 5})
		calls(router.Commit, router.CommitLimit+time.Second)
		reported(router.Commit, 4, context.Canceled.Error())
		r.add(router.Replicate{Job: router.Resume, Epoch: 5})
		r.add(router.Replicate{Job: router.Resume, Epoch: 5})
		reported(router.Commit, 5, "no answer within 3s")
		calls(router.Resume, 2*router.CommitLimit+time.Second)
		r.add(router.Replicate{Job: router.Yield, Epoch: 6})
		reported(router.Resume, 5, context.Canceled.Error())
		calls(router.Yield, 2*router.CommitLimit+time.Second)
		cancel()
		<-ended
		if e := <-reports; !errors.Is(e.Err, context.Canceled) {
			t.Errorf("%+v", e)
		}
	})
}
