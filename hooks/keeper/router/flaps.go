package router

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// flaps counts changes of the router's role.
type flaps struct {
	total  int
	recent []time.Duration // boot times, within flapWindow
	warned bool
}

const (
	flapWindow = 2 * time.Minute
	// flapLimit is more than maintenance makes: a stop, a start and a drill on both
	// routers are six.
	flapLimit = 8
)

// turned counts a change, and warns once when they are too many.
func (f *flaps) turned(m *Machine) {
	f.total++
	f.expire(m.now)
	f.recent = append(f.recent, m.now)
	if len(f.recent) < flapLimit {
		f.warned = false
		return
	}
	if !f.warned {
		f.warned = true
		m.later = append(m.later, Log{slog.LevelWarn, flapping(len(f.recent)), nil})
	}
}

func (f *flaps) expire(now time.Duration) {
	f.recent = slices.DeleteFunc(f.recent, func(at time.Duration) bool { return now-at > flapWindow })
}

// warning says that the role is not stable, or nothing.
func (f *flaps) warning(now time.Duration) string {
	n := 0
	for _, at := range f.recent {
		if now-at <= flapWindow {
			n++
		}
	}
	if n < flapLimit {
		return ""
	}
	return flapping(n)
}

func flapping(n int) string {
	return fmt.Sprintf("the role changed %d times within %v: adverts are late or lost, and each change interrupts sessions; "+
		"in keepalived.conf raise advert_int, set vrrp_priority -20 (vrrp_rt_priority only with vrrp_rlimit_rttime) and a preempt_delay", n, flapWindow)
}
