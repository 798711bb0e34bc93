package hook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// Hook carries one role request to the keeper.
type Hook struct {
	Starter Starter
	// Check validates the configuration. It is asked only where no keeper runs: a
	// running one has done so.
	Check func() error
	// Alone makes the router backup in this process where no keeper answers, as far
	// as i and the recorded intents request that. With finish it also waits until
	// the WANs are deleted; without, it is enough that they are mute.
	Alone func(ctx context.Context, i intent.Intent, finish bool) control.Answer
	// Silence is the first part of Alone: it stops the transmission of the WANs.
	Silence func(ctx context.Context, i intent.Intent) error
	// Step, if not nil, is called with a name before each thing that Say does.
	// Tests end the process there.
	Step func(name string)
}

// ConfigError is a role request that failed because of the configuration.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

const (
	// grace is how much longer than a hook's own time limit the keeper may take to
	// answer that the limit has passed.
	grace = time.Second
	// muteLimit is how long a hook leaves it to the keeper to stop transmission. A
	// keeper that works needs a few milliseconds; one that hangs or was stopped
	// still accepts connections, and the hook may be killed a second after its start.
	muteLimit = 150 * time.Millisecond
	// aloneLimit bounds what a hook does instead of a keeper that does not answer.
	aloneLimit = 5 * time.Second
)

// Say records the role request, sees to it that a keeper acts on it, and returns
// its outcome within wait. A router becomes backup whatever else is broken: a
// keeper that is missing, hangs or answers garbage, a run directory that is full,
// a configuration that cannot be read.
func (h Hook) Say(ctx context.Context, op string, i intent.Intent, wait time.Duration) (control.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+grace)
	defer cancel()
	if h.Step == nil {
		h.Step = func(string) {}
	}
	h.Step("dial")
	conn, err := control.Dial(ctx, h.Starter.RunDir)
	if op == control.OpRelease {
		if err != nil {
			return control.Answer{}, err
		}
		return h.release(ctx, conn, control.Request{Op: op, Intent: &i, Wait: wait})
	}
	if errors.Is(err, control.ErrNoKeeper) && i.Role == intent.Primary {
		if err := h.Check(); err != nil {
			return control.Answer{}, &ConfigError{err}
		}
	}
	if i.Role == intent.Primary && ctx.Err() != nil {
		// When keepalived exits its hooks get SIGTERM: the request is no longer valid.
		return control.Answer{}, fmt.Errorf("cancelled before it was recorded: %w", context.Cause(ctx))
	}
	h.Step("record")
	limit := intent.RecordLimit
	if i.Role == intent.Primary && conn == nil {
		limit = wait // only the record can carry it to a keeper
	}
	newer, recordErr := h.record(i, limit)
	h.Step("recorded")
	if newer != nil {
		if conn != nil {
			_ = conn.Close()
		} else {
			h.actFor(ctx, *newer)
		}
		return control.Answer{Outcome: control.Superseded, Role: newer.Role, By: newer.By()}, nil
	}
	if recordErr != nil && i.Role == intent.Primary && conn == nil {
		return control.Answer{}, recordErr // a keeper would never learn of it
	}
	a, err := h.deliver(ctx, conn, control.Request{Op: op, Intent: &i, Wait: wait, Unrecorded: recordErr != nil})
	if recordErr != nil {
		// The keeper records it, too, but may exit before that.
		if _, err := h.record(i, intent.RecordLimit); err != nil {
			a.Degrade(err)
		}
	}
	return a, err
}

// Announce has the keeper announce the addresses of the WANs that i covers and
// that are primary. It is no role request. Where no keeper runs there is nothing
// to do: the next one observes everything anew.
func (h Hook) Announce(ctx context.Context, i intent.Intent) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	conn, err := control.Dial(ctx, h.Starter.RunDir)
	if errors.Is(err, control.ErrNoKeeper) {
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	var a control.Answer
	if err := conn.Ask(ctx, control.Request{Op: control.OpAnnounce, Intent: &i}, &a); err != nil {
		return err
	}
	return a.Refusal()
}

func (h Hook) record(i intent.Intent, limit time.Duration) (newer *intent.Intent, err error) {
	store, err := intent.OpenStore(h.Starter.RunDir)
	if err != nil {
		return nil, err
	}
	return store.Record(i, limit)
}

// release needs a keeper, which records the intent itself: a keeper that saw it in
// the record before the request would take it for any other demotion.
func (h Hook) release(ctx context.Context, conn *control.Conn, r control.Request) (control.Answer, error) {
	defer conn.Close()
	var a control.Answer
	if err := conn.Ask(ctx, r, &a); err != nil {
		return a, err
	}
	return a, a.Refusal()
}

// actFor does what the hook of the newer role request may have been killed before
// it did: a hook that was killed after it had recorded leaves, where no keeper
// runs, a request that no process acts on.
func (h Hook) actFor(ctx context.Context, newer intent.Intent) {
	if newer.Role == intent.Backup {
		_ = h.Silence(ctx, newer) // its own hook, if it still runs, reports what goes wrong
	}
	if (newer.Role == intent.Primary || newer.Owner != (intent.Process{})) && h.Check() == nil {
		if conn, err := h.Starter.Dial(ctx); err == nil {
			_ = conn.Close()
		}
	}
}

// deliver asks the keeper, a new one if the one that was asked exits, and acts
// without a keeper where a backup finds none.
func (h Hook) deliver(ctx context.Context, conn *control.Conn, r control.Request) (control.Answer, error) {
	for {
		if conn == nil && r.Intent.Role == intent.Backup {
			return h.alone(ctx, r), nil
		}
		var err error
		if conn == nil {
			if conn, err = h.Starter.Dial(ctx); err != nil {
				return control.Answer{}, err
			}
		}
		var a control.Answer
		err = h.ask(ctx, conn, r, &a)
		_ = conn.Close()
		var garbage *control.GarbageError
		switch {
		case err == nil:
			return a, a.Refusal()
		case ctx.Err() == nil && !errors.As(err, &garbage):
			// The keeper exited before it answered. Its supervisor may have restarted it.
			if conn, err = control.Dial(ctx, h.Starter.RunDir); err != nil {
				conn = nil
			}
		case r.Intent.Role == intent.Backup:
			// A person who waits may interrupt; the role request stays.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aloneLimit)
			defer cancel()
			a = h.alone(ctx, r)
			a.Degrade(err)
			return a, nil
		default:
			return control.Answer{}, err
		}
	}
}

// ask sends the request to the keeper. If it is for backup and the keeper is slow
// to answer, the hook stops transmission itself: at worst that is done twice.
func (h Hook) ask(ctx context.Context, conn *control.Conn, r control.Request, a *control.Answer) error {
	if r.Intent.Role == intent.Backup {
		var silence sync.WaitGroup
		defer silence.Wait()
		silence.Add(1)
		late := time.AfterFunc(muteLimit, func() {
			defer silence.Done()
			_ = h.Silence(ctx, *r.Intent) // the keeper, or Alone, reports what goes wrong
		})
		defer func() {
			if late.Stop() {
				silence.Done()
			}
		}()
	}
	h.Step("ask")
	err := conn.Ask(ctx, r, a)
	h.Step("answered")
	return err
}

// alone makes this router backup without a keeper. When keepalived asked, a keeper
// is started after that: it keeps the services stopped and makes the next promotion
// fast. A command that a person types starts no keeper, nor does a hook that could
// not record its role request: the keeper would find an older one.
func (h Hook) alone(ctx context.Context, r control.Request) control.Answer {
	byHand, unrecorded := r.Intent.Owner == (intent.Process{}), false
	h.Step("alone")
	a := h.Alone(ctx, *r.Intent, byHand)
	if r.Unrecorded {
		_, err := h.record(*r.Intent, intent.RecordLimit)
		unrecorded = err != nil // which Say reports
	}
	if !byHand && !unrecorded && h.Check() == nil {
		conn, err := h.Starter.Dial(ctx)
		if err == nil {
			_ = conn.Close()
		} else {
			a.Problems = append(a.Problems, err.Error())
		}
	}
	if len(a.Problems) > 0 && a.Outcome == control.Reached {
		a.Outcome = control.Degraded
	}
	return a
}
