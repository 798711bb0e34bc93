package router

import (
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// Report describes the router as of now. wall turns boot time into the time of
// day: what has passed is right even if somebody has set the clock meanwhile.
func (m *Machine) Report(now time.Duration, wall func(time.Duration) time.Time) hooks.Report {
	r := hooks.Report{
		Role: m.role, Since: wall(m.since), By: m.by, Changes: m.flaps.total,
		WANs: []hooks.WAN{}, Services: []hooks.Service{}, Transitions: []hooks.Transition{}, Warnings: []string{},
		Conntrackd: m.replication(),
	}
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
	}
	for _, s := range m.served.Services {
		s.Pending = m.served.Epoch != m.serving.Epoch
		r.Services = append(r.Services, s)
	}
	if m.faults[Commit] != "" {
		r.Warnings = append(r.Warnings, "conntrackd: the peer's connections could not be taken over at the last failover, sessions were lost: "+m.faults[Commit])
	}
	for _, j := range []Job{Resume, Yield} {
		if m.faults[j] != "" {
			r.Warnings = append(r.Warnings, "conntrackd: "+m.faults[j]+"; connections may be lost at the next failover: does it run on both routers?")
		}
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

// replication says how conntrackd does: how its last job ended.
func (m *Machine) replication() string {
	switch {
	case !m.config.Replicated:
		return "off"
	case m.faults[m.last] != "":
		return "failing: " + m.faults[m.last]
	}
	return "ok"
}
