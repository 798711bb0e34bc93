package hooks

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Hook carries one wish to the keeper.
type Hook struct {
	Starter Starter
	// Check validates the configuration. It is asked only where no keeper runs: a
	// running one has done so.
	Check func() error
	// Alone makes the router backup in this process, for want of a keeper. With
	// finish it also waits until everything is gone; without, silence is enough.
	Alone func(ctx context.Context, finish bool) Answer
}

// ConfigError is a wish that could not be met for the sake of the configuration.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// grace is how much longer than a hook's own time the keeper may take to say
// that the time is over.
const grace = time.Second

// Say records the wish, sees to it that a keeper acts on it, and returns what
// became of it within wait. A router becomes backup whatever else is broken: a
// keeper that is missing or mad, a run directory that is full, a configuration
// that nobody can read.
func (h Hook) Say(ctx context.Context, op string, i Intent, wait time.Duration) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+grace)
	defer cancel()
	conn, err := Dial(ctx, h.Starter.RunDir)
	if errors.Is(err, ErrNoKeeper) && i.Role == Primary {
		if err := h.Check(); err != nil {
			return Answer{}, &ConfigError{err}
		}
	}
	recordErr := h.record(i)
	var newer *supersededError
	if errors.As(recordErr, &newer) {
		if conn != nil {
			_ = conn.Close()
		}
		return Answer{Outcome: Superseded, Role: newer.by.Role, By: newer.by.By()}, nil
	}
	if recordErr != nil && i.Role == Primary && conn == nil {
		return Answer{}, recordErr // a keeper would never learn of it
	}
	a, err := h.deliver(ctx, conn, Request{Op: op, Intent: &i, Wait: wait})
	if recordErr != nil && a.Outcome == Reached {
		a.Outcome = Degraded
	}
	if recordErr != nil {
		a.Problems = append(a.Problems, recordErr.Error())
	}
	return a, err
}

// supersededError is the newer wish that was found in the record.
type supersededError struct{ by Intent }

func (e *supersededError) Error() string { return "superseded by " + e.by.By() }

func (h Hook) record(i Intent) error {
	store, err := OpenStore(h.Starter.RunDir)
	if err != nil {
		return err
	}
	newer, err := store.Record(i)
	if newer != nil {
		return &supersededError{*newer}
	}
	return err
}

// deliver asks the keeper, a new one if the one that was asked dies, and acts
// alone where a backup has nobody to ask.
func (h Hook) deliver(ctx context.Context, conn *Conn, r Request) (Answer, error) {
	for {
		if conn == nil && r.Intent.Role == Backup {
			return h.alone(ctx, *r.Intent), nil
		}
		var err error
		if conn == nil {
			if conn, err = h.Starter.Dial(ctx); err != nil {
				return Answer{}, err
			}
		}
		var a Answer
		err = conn.Ask(ctx, r, &a)
		_ = conn.Close()
		conn = nil
		switch {
		case err == nil && a.Error != "":
			return a, fmt.Errorf("keeper refuses: %s", a.Error)
		case err == nil:
			return a, nil
		case ctx.Err() != nil:
			return Answer{}, err
		}
		var garbage *GarbageError
		if errors.As(err, &garbage) {
			if r.Intent.Role == Backup {
				a = h.alone(ctx, *r.Intent)
				a.Problems = append(a.Problems, err.Error())
				a.Outcome = Degraded
				return a, nil
			}
			return Answer{}, err
		}
		// The keeper died while it was asked. Its supervisor may have it back already.
		if conn, err = Dial(ctx, h.Starter.RunDir); err != nil && !errors.Is(err, ErrNoKeeper) {
			return Answer{}, err
		}
	}
}

// alone makes this router backup without a keeper. When keepalived asked, a
// keeper follows: it stays, keeps the services down, and makes the next promotion
// a quick one. A person who types a command starts no daemon by it.
func (h Hook) alone(ctx context.Context, i Intent) Answer {
	byHand := i.Owner == (Process{})
	a := h.Alone(ctx, byHand)
	if !byHand && h.Check() == nil {
		if conn, err := h.Starter.Dial(ctx); err == nil {
			_ = conn.Close()
		} else {
			a.Problems = append(a.Problems, err.Error())
		}
	}
	if len(a.Problems) > 0 && a.Outcome == Reached {
		a.Outcome = Degraded
	}
	return a
}
