package services

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Result is what Converge did to one service.
type Result struct {
	Name    string
	Changed bool          // it was not as wanted, and now is
	State   State         // as the manager said last; Stopped if it said nothing
	Took    time.Duration // from the call of Converge
	Err     error         // nil: the service is as wanted
}

// Converge makes every named service run (up) or not, all at once and each within
// limit, so that a slow or broken one holds up no other. What is as wanted already
// is left alone: its process stays. A name that is given twice counts once. The
// results are in the order of the names.
//
// When ctx ends, Converge returns promptly and the unfinished results carry its
// cause.
func Converge(ctx context.Context, m Manager, names []string, up bool, limit time.Duration) []Result {
	return ConvergeEach(ctx, m, names, up, limit, func(Result) {})
}

// ConvergeEach is Converge that also tells of each result as soon as it is there.
// each may be called at any time until ConvergeEach returns, by several goroutines
// at once.
func ConvergeEach(ctx context.Context, m Manager, names []string, up bool, limit time.Duration, each func(Result)) []Result {
	start := time.Now()
	var results []Result
	for _, name := range names {
		if !slices.ContainsFunc(results, func(r Result) bool { return r.Name == name }) {
			results = append(results, Result{Name: name})
		}
	}
	want := Stopped
	if up {
		want = Running
	}
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			r := &results[i]
			late := fmt.Errorf("not %s within %v: its own log may say why", want, limit)
			ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
			defer cancel()
			r.State, r.Changed, r.Err = converge(ctx, m, r.Name, want)
			r.Took = time.Since(start)
			each(*r)
		})
	}
	all.Wait()
	return results
}

func converge(ctx context.Context, m Manager, name string, want State) (now State, changed bool, err error) {
	now, err = m.State(ctx, name)
	if err != nil || now == want {
		return now, false, err
	}
	if want == Running {
		err = m.Start(ctx, name)
	} else {
		err = m.Stop(ctx, name)
	}
	if err == nil {
		return want, true, nil
	}
	if then, stateErr := m.State(ctx, name); stateErr == nil {
		now = then
	}
	return now, false, err
}
