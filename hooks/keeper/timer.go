package keeper

import "time"

// timer is a time.Timer that can be asked whether it runs.
type timer struct {
	*time.Timer
	running bool
}

func newTimer() timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return timer{Timer: t}
}

// set lets the timer fire after d.
func (t *timer) set(d time.Duration) { t.Reset(d); t.running = true }

// stop keeps it from firing. The handler calls it too.
func (t *timer) stop() { t.Stop(); t.running = false }
