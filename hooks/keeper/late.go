package keeper

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/services"
)

// lateServices ends the wait for services that the configuration does not name: a
// default that happens to be installed, and that its own configuration keeps from
// starting, must not make a change of role long. A later result is reported later.
type lateServices struct {
	d            *daemons
	order        router.Serve
	given, start time.Duration
	timer        *time.Timer // nil: they are all waited for

	mu      sync.Mutex
	results []services.Result
	over    bool
}

// expect begins to wait for a pass; first: of this order.
func (d *daemons) expect(t router.Serve, given, start time.Duration, first bool) *lateServices {
	l := &lateServices{d: d, order: t, given: given, start: start}
	if first && !d.chosen {
		l.timer = time.AfterFunc(defaultsLimit, l.report)
	}
	return l
}

// add takes a result.
func (l *lateServices) add(r services.Result) {
	l.mu.Lock()
	l.results = append(l.results, r)
	l.mu.Unlock()
}

// stop ends the wait: all results are there, or do not count.
func (l *lateServices) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
}

// report tells of what is there, and of what is not.
func (l *lateServices) report() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	verb := control.PhaseStop
	if l.order.Up {
		verb = control.PhaseStart
	}
	s := router.Served{Epoch: l.order.Epoch, Settled: true, Since: l.given}
	for _, name := range l.d.names {
		line := control.Service{Name: name, Backend: l.d.manager.Backend()}
		at := slices.IndexFunc(l.results, func(r services.Result) bool { return r.Name == name })
		if at < 0 {
			line.Pending = true
			s.Problems = append(s.Problems, fmt.Sprintf("%s %s: not done after %v, it goes on", verb, name, defaultsLimit))
		} else {
			r := l.results[at]
			line.Running = r.State == services.Running
			if r.Err != nil {
				line.Error = r.Err.Error()
				s.Problems = append(s.Problems, verb+" "+name+": "+line.Error)
			}
			if r.Changed || r.Err != nil {
				s.Phases = append(s.Phases, control.Phase{Name: verb + " " + name, Took: r.Took, At: l.start - l.given + r.Took, Error: line.Error})
			}
		}
		s.Services = append(s.Services, line)
	}
	l.d.report(s)
}
