package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Options of Run.
type Options struct {
	Quick bool         // few rounds: minutes become one or two
	Tell  func(string) // progress; may be nil
	Only  []string     // of Parts; empty: all
}

// Parts are the things to measure.
var Parts = []string{"hooks", "sessions", "scale", "cost"}

// Validate tells what Run would not accept.
func (o Options) Validate() error {
	for _, part := range o.Only {
		if !slices.Contains(Parts, part) {
			return fmt.Errorf("unknown part %q, want some of %v", part, Parts)
		}
	}
	return nil
}

func (o Options) wants(part string) bool { return len(o.Only) == 0 || slices.Contains(o.Only, part) }

func (o Options) tell(format string, arg ...any) {
	if o.Tell != nil {
		o.Tell(fmt.Sprintf(format, arg...))
	}
}

// Results of a run; what was not asked for is nil.
type Results struct {
	Began    time.Time
	Took     time.Duration
	Quick    bool
	prepared prepared
	Hooks    []HookResult
	Sessions []*SessionResult
	Scale    []*ScaleResult
	Cost     *CostResult
}

// Run measures. It runs inside of the lab (lab.Main), after Prepare outside.
func Run(ctx context.Context, o Options) (r *Results, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r = &Results{Began: time.Now(), Quick: o.Quick}
	if text := os.Getenv(envPrepared); text != "" {
		if err := json.Unmarshal([]byte(text), &r.prepared); err != nil {
			return nil, fmt.Errorf("read %s: %w", envPrepared, err)
		}
	}
	if o.wants("hooks") {
		if r.Hooks, err = measureHooks(ctx, o); err != nil {
			return nil, fmt.Errorf("hook to usable WAN: %w", err)
		}
	}
	if o.wants("sessions") {
		if r.Sessions, err = measureSessions(ctx, o); err != nil {
			return nil, fmt.Errorf("sessions: %w", err)
		}
	}
	if o.wants("scale") {
		if r.Scale, err = measureScale(ctx, o); err != nil {
			return nil, fmt.Errorf("scale: %w", err)
		}
	}
	if o.wants("cost") {
		if r.Cost, err = measureCost(ctx, o); err != nil {
			return nil, fmt.Errorf("cost: %w", err)
		}
		r.Cost.Binaries = r.prepared.Binaries
	}
	r.Took = time.Since(r.Began)
	return r, nil
}
