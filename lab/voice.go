package lab

import (
	"sync"
	"time"
)

// Voice listens for one MAC address on a router's WAN port: what a backup must
// not send one frame of.
type Voice struct {
	c *Capture

	mu          sync.Mutex
	count       int
	first, last Frame
}

// Voice begins to listen for the shared MAC address as the source of what the
// router sends.
func (r *Router) Voice() (*Voice, error) {
	c, err := r.l.capture(r.WAN(), FilterFrom(SharedMAC()), false)
	if err != nil {
		return nil, err
	}
	v := &Voice{c: c}
	c.OnFrame(func(f Frame) {
		if !f.FromMachine {
			return
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.count == 0 {
			v.first = f
		}
		v.count++
		v.last = f
	})
	return v, nil
}

// Heard returns how many frames there were, and the first and the last of them.
func (v *Voice) Heard() (count int, first, last Frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.count, v.first, v.last
}

// SilentSince returns when the last frame was seen; the zero time without any.
func (v *Voice) SilentSince() time.Time {
	_, _, last := v.Heard()
	return last.At
}

// Close ends the listening; what was heard stays.
func (v *Voice) Close() error { return v.c.Close() }
