package keeper

import (
	"context"
	"log/slog"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
)

// recorder puts intents on record that the keeper knows and the record lacks. It
// works beside the loop, since the record has a lock that others hold, and tries
// again for as long as it takes: a file system may have room again.
type recorder struct {
	store *intent.Store
	log   *slog.Logger
	next  *latest[intent.Intents]
}

// recordRetry is the time between two tries.
const recordRetry = time.Second

func newRecorder(s *intent.Store, log *slog.Logger) *recorder {
	return &recorder{store: s, log: log, next: newLatest[intent.Intents]()}
}

// keep asks for is to be on record.
func (r *recorder) keep(is intent.Intents) { r.next.put(is) }

func (r *recorder) run(ctx context.Context) {
	var missing intent.Intents
	retry, failing := newTimer(), false
	for {
		select {
		case <-ctx.Done():
			return
		case missing = <-r.next.c:
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

func (r *recorder) record(is intent.Intents) error {
	for _, i := range is {
		if _, err := r.store.Record(i, intent.RecordLimit); err != nil {
			return err
		}
	}
	return nil
}
