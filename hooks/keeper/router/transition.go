package router

import (
	"cmp"
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// remembered is how many transitions a report has.
const remembered = 10

// transition is a change of role. Transition.At is set when it is reported.
type transition struct {
	control.Transition
	at    time.Duration // boot time of its start
	epoch int
	extra []control.Phase // of the replication, counted from at
}

// of is the transition of an epoch, nil if it is not remembered.
func (m *Machine) of(epoch int) *transition {
	if m.current != nil && m.current.epoch == epoch {
		return m.current
	}
	for i := range m.past {
		if m.past[i].epoch == epoch {
			return &m.past[i]
		}
	}
	return nil
}

// conclude ends the transition once everything has reached its role.
func (m *Machine) conclude() {
	if m.current == nil || !m.serves() {
		return
	}
	for i := range m.wans {
		if !m.wans[i].settled() {
			return
		}
	}
	t := m.current
	t.Phases, t.Problems = m.phases(t), m.problems("")
	for _, p := range append(slices.Clone(t.Phases), t.extra...) {
		t.Took = max(t.Took, p.At)
	}
	m.remember("is " + t.Role.String())
}

// abandon ends a transition that a newer one overtakes.
func (m *Machine) abandon() {
	if m.current == nil {
		return
	}
	t := m.current
	t.Took, t.Phases = m.now-t.at, m.phases(t)
	t.Problems = append(m.problems(""), "superseded before it was complete")
	m.remember("superseded on the way to " + t.Role.String())
}

// remember ends the transition, with the one line of the log that it gets.
func (m *Machine) remember(text string) {
	m.later = append(m.later, Ended{text, m.current.whole()})
	m.past = append(m.past, *m.current)
	if len(m.past) > remembered {
		m.past = slices.Delete(m.past, 0, len(m.past)-remembered)
	}
	m.current = nil
}

// whole is the transition with all its phases, in the order in which they ended.
func (t *transition) whole() control.Transition {
	w := t.Transition
	w.Phases = append(slices.Clone(t.Phases), t.extra...)
	slices.SortStableFunc(w.Phases, func(a, b control.Phase) int { return cmp.Compare(a.At, b.At) })
	return w
}

// phases are those of WANs and services, counted from the start of t.
func (m *Machine) phases(t *transition) (all []control.Phase) {
	add := func(ps []control.Phase, since time.Duration, name func(string) string) {
		for _, p := range ps {
			p.Name, p.At = name(p.Name), p.At+since-t.at
			all = append(all, p)
		}
	}
	for i, w := range m.wans {
		if w.state.Epoch == t.epoch {
			add(w.state.Phases, w.state.Since, func(phase string) string {
				return PhaseOf(len(m.wans), m.config.WANs[i].Name, phase)
			})
		}
	}
	if m.served.Epoch == t.epoch {
		add(m.served.Phases, m.served.Since, func(phase string) string { return phase })
	}
	return all
}

// PhaseOf is the name of one WAN's phase on a router of so many.
func PhaseOf(wans int, wan, phase string) string {
	if wans > 1 {
		return wan + " " + phase
	}
	return phase
}

// problems names everything that is not as it should be with the WANs that a
// scope covers, and with the services.
func (m *Machine) problems(scope string) (all []string) {
	for _, i := range m.covered(scope) {
		if w := m.wans[i]; w.state.Epoch == w.ordered.Epoch {
			all = append(all, w.state.Problems...)
		} else {
			all = append(all, m.config.WANs[i].Name+": not begun yet")
		}
	}
	if m.serves() {
		return append(all, m.served.Problems...)
	}
	return append(all, "services: not done yet")
}

// covered are the WANs that an intent of the given scope drives.
func (m *Machine) covered(scope string) (wans []int) {
	for i, instance := range m.instances {
		if (intent.Intent{Scope: scope}).Covers(instance) {
			wans = append(wans, i)
		}
	}
	return wans
}
