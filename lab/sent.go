package lab

import (
	"sync"
	"time"
)

// Sent records the frames with the shared MAC address that a router sends on its
// WAN port: a backup must not send one.
type Sent struct {
	c *Capture

	mu          sync.Mutex
	count       int
	first, last Frame
}

// RecordSent begins to record the frames that the router sends with the shared MAC
// address as their source.
func (r *Router) RecordSent() (*Sent, error) {
	c, err := r.l.capture(r.WAN(), FilterFrom(SharedMAC()), false)
	if err != nil {
		return nil, err
	}
	s := &Sent{c: c}
	c.OnFrame(func(f Frame) {
		if !f.FromMachine {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.count == 0 {
			s.first = f
		}
		s.count++
		s.last = f
	})
	return s, nil
}

// Frames returns how many frames were sent, and the first and the last of them.
func (s *Sent) Frames() (count int, first, last Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.first, s.last
}

// LastAt returns when the last frame was sent; the zero time without any.
func (s *Sent) LastAt() time.Time {
	_, _, last := s.Frames()
	return last.At
}

// Close ends the recording; the frames so far stay.
func (s *Sent) Close() error { return s.c.Close() }
