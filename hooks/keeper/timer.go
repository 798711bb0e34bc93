package keeper

import "time"

// timer is a time.Timer that knows whether it runs.
type timer struct {
	*time.Timer
	running bool
}

func newTimer() timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return timer{Timer: t}
}

// backoff spaces repairs when something keeps breaking what is repaired.
type backoff struct {
	wait time.Duration
	last time.Time
}

const (
	healSoonest = 100 * time.Millisecond
	healLatest  = 30 * time.Second
	healCalm    = time.Minute // unbroken for so long: start over
)

// next is how long to wait after a repair that was made now.
func (b *backoff) next() time.Duration {
	if time.Since(b.last) > b.wait+healCalm {
		b.wait = 0
	}
	b.last = time.Now()
	b.wait = min(max(2*b.wait, healSoonest), healLatest)
	return b.wait
}

// set lets the timer fire after d.
func (t *timer) set(d time.Duration) { t.Reset(d); t.running = true }

// stop keeps it from firing. The handler calls it too.
func (t *timer) stop() { t.Stop(); t.running = false }
