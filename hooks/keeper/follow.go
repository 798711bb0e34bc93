package keeper

import (
	"context"
	"reflect"
	"slices"

	"github.com/wanfail/wanfail/hooks/control"
)

// wakeFollowers wakes the followers: something may have changed. A question changes
// nothing: followers that were woken by their own would never stop.
func (k *Keeper) wakeFollowers() {
	if k.asked {
		k.asked = false
		return
	}
	for f := range k.followers {
		f.raise()
	}
}

// follow calls tell with a report now and after each change, until ctx ends or
// tell fails.
func (k *Keeper) follow(ctx context.Context, tell func(control.Report) error) error {
	changed := newSignal()
	k.do(func() { k.followers[changed] = struct{}{} })
	defer k.do(func() { delete(k.followers, changed) })
	var told control.Report
	for {
		r, err := k.status(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		if !same(r, told) {
			if err := tell(r); err != nil {
				return err
			}
			told = r
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// same compares two reports but for what changes with time alone. A renewed lease
// is told by what is left of it: more than before.
func same(a, b control.Report) bool {
	timeless := func(r control.Report) control.Report {
		r.WANs = slices.Clone(r.WANs)
		for i := range r.WANs {
			r.WANs[i].LeaseSeconds, r.WANs[i].RenewSeconds = 0, 0
		}
		return r
	}
	for i := range min(len(a.WANs), len(b.WANs)) {
		if a.WANs[i].LeaseSeconds > b.WANs[i].LeaseSeconds {
			return false
		}
	}
	return reflect.DeepEqual(timeless(a), timeless(b))
}
