package wan

import "time"

// Backoff spaces repairs when something keeps breaking what is repaired.
type Backoff struct {
	wait time.Duration
	last time.Duration
}

const (
	healSoonest = 100 * time.Millisecond
	healLatest  = 30 * time.Second
	healReset   = time.Minute // unbroken for so long: start over
)

// Next is how long to wait after a repair that was made now, in boot time.
func (b *Backoff) Next(now time.Duration) time.Duration {
	if now-b.last > b.wait+healReset {
		b.wait = 0
	}
	b.last = now
	b.wait = min(max(2*b.wait, healSoonest), healLatest)
	return b.wait
}
