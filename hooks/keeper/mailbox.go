package keeper

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// mailbox is the loop's work. It takes any amount, so that nobody ever waits to
// put something in: not a task while the loop is busy, not the loop itself, and
// not what comes late when the loop has ended.
type mailbox struct {
	wake chan struct{} // holds a token while there is work

	mu   sync.Mutex
	work []func()
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(f func()) {
	m.mu.Lock()
	m.work = append(m.work, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// run does all the work that is there, in order.
func (m *mailbox) run() {
	m.mu.Lock()
	work := m.work
	m.work = nil
	m.mu.Unlock()
	for _, f := range work {
		f()
	}
}

// recorder puts intents on record that the keeper knows and the record lacks. It
// works beside the loop, since the record has a lock that others hold, and tries
// again for as long as it takes: a file system may have room again.
type recorder struct {
	store *hooks.Store
	log   *slog.Logger
	next  chan hooks.Intents // holds the latest
}

// recordRetry is the time between two tries.
const recordRetry = time.Second

func newRecorder(s *hooks.Store, log *slog.Logger) *recorder {
	return &recorder{store: s, log: log, next: make(chan hooks.Intents, 1)}
}

// keep asks for is to be on record. Only the loop calls it.
func (r *recorder) keep(is hooks.Intents) {
	select {
	case <-r.next:
	default:
	}
	r.next <- is
}

func (r *recorder) run(ctx context.Context) {
	var missing hooks.Intents
	retry, failing := newTimer(), false
	for {
		select {
		case <-ctx.Done():
			return
		case missing = <-r.next:
		case <-retry.C:
		}
		if err := r.record(missing); err != nil {
			if !failing {
				r.log.Error("cannot record the intent again, trying on: is there room in the run directory?", "error", err)
			}
			failing = true
			retry.set(recordRetry)
			continue
		}
		failing, missing = false, nil
		retry.stop()
	}
}

func (r *recorder) record(is hooks.Intents) error {
	for _, i := range is {
		if _, err := r.store.Record(i, hooks.RecordLimit); err != nil {
			return err
		}
	}
	return nil
}
