package conntrackd

import (
	"fmt"
	"time"
)

const (
	// steady is how long a daemon that has ended must run again before it is relied
	// upon: until then it may end once more, and the peer's connections are still on
	// their way to it.
	steady = 10 * time.Second
	// A daemon that ends often between longer pauses is not relied upon either.
	often  = 3
	window = 5 * time.Minute
)

// health judges a daemon by what several looks at it have found. It is a pure
// machine: the time is a parameter.
type health struct {
	seen bool        // it has answered once
	pid  int         // of the daemon that answered last; 0: not known
	down bool        // it did not answer the last time
	ends []time.Time // when it was found to have ended, the newest last
}

// look takes what one look found: the process that answered, or an error. It
// returns what is wrong, nil if nothing is.
func (h *health) look(now time.Time, pid int, err error) (problem error) {
	if err != nil {
		if h.seen && !h.down {
			h.note(now)
		}
		h.down = true
		return err
	}
	if h.seen && !h.down && h.pid != pid && h.pid != 0 { // ended and started between two looks
		h.note(now)
	}
	h.seen, h.down, h.pid = true, false, pid
	recent := 0
	for _, end := range h.ends {
		if now.Sub(end) < window {
			recent++
		}
	}
	switch {
	case recent >= often:
		return fmt.Errorf("conntrackd has ended or hung %d times within %v: see its log", recent, window)
	case recent > 0 && now.Sub(h.ends[len(h.ends)-1]) < steady:
		return fmt.Errorf("conntrackd did not run or answer less than %v ago and may not have the peer's connections yet", steady)
	}
	return nil
}

func (h *health) note(now time.Time) {
	if len(h.ends) == often {
		h.ends = h.ends[1:]
	}
	h.ends = append(h.ends, now)
}

// next is when to look again after a look that found problem: soon where something
// is wrong. The end of a daemon that is known is an event and needs no look.
func (h *health) next(problem error) time.Duration {
	switch {
	case problem == nil:
		return lookSeldom
	case h.down:
		return lookOften
	}
	return steady / 2
}

const (
	lookSeldom = 30 * time.Second
	lookOften  = 2 * time.Second
)
