package router

import (
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// Report describes the router as of now. wall turns boot time into the time of
// day: what has passed is right even if somebody has set the clock meanwhile.
func (m *Machine) Report(now time.Duration, wall func(time.Duration) time.Time) control.Report {
	r := control.Report{
		Role: m.role, Since: wall(m.since), By: m.by, Changes: m.flaps.total,
		WANs: []control.WAN{}, Services: []control.Service{}, Transitions: []control.Transition{}, Warnings: []string{},
		Conntrackd: m.replication(), VRRP: control.Reported(m.states, m.gone, wall),
	}
	r.Warnings = append(r.Warnings, Disputes(m.config.WANs, m.intents, m.states, m.gone)...)
	for i := range m.past {
		t := m.past[i].whole()
		t.At = wall(m.past[i].at)
		r.Transitions = append(r.Transitions, t)
	}
	for _, w := range m.wans {
		n := w.state.WAN
		if w.state.Epoch == 0 { // not begun yet
			n.Role = w.ordered.Role
		}
		r.WANs = append(r.WANs, wan.Refreshed(n, w.state.Lease, now))
		for _, what := range w.state.Warnings {
			r.Warnings = append(r.Warnings, n.Name+": "+what)
		}
		if l := w.state.Lease; l != nil {
			for _, what := range l.Omitted {
				r.Warnings = append(r.Warnings, n.Name+": the lease's "+what+"; it is not used")
			}
		}
	}
	for _, s := range m.served.Services {
		s.Pending = s.Pending || m.served.Epoch != m.serving.Epoch
		r.Services = append(r.Services, s)
	}
	if m.faults[Commit] != "" {
		r.Warnings = append(r.Warnings, "conntrackd: the peer's connections could not be taken over at the last failover, sessions were lost: "+m.faults[Commit])
	}
	if why, failing := strings.CutPrefix(r.Conntrackd, failing); failing && m.role == intent.Primary && why != m.faults[Commit] {
		r.Warnings = append(r.Warnings, "conntrackd: "+why+"; connections may be lost at the next failover: does it run on both routers?")
	}
	if w := m.flaps.warning(now); w != "" {
		r.Warnings = append(r.Warnings, w)
	}
	if m.serves() {
		r.Warnings = append(r.Warnings, m.served.Problems...)
	}
	slices.Sort(r.Warnings)
	return r
}

// failing begins the state of a conntrackd that fails.
const failing = "failing: "

// replication says how conntrackd does: how its last job ended.
func (m *Machine) replication() string {
	switch {
	case !m.config.Replicated:
		return "off"
	case m.down != nil:
		return failing + m.down.Error()
	case m.faults[m.last] != "":
		return failing + m.faults[m.last]
	}
	return "ok"
}
