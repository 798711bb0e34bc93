package router

import (
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// Intents are the newest ones known.
func (m *Machine) Intents() intent.Intents { return m.intents }

// Role is the router's.
func (m *Machine) Role() intent.Role { return m.role }

// Already reports whether nothing has to be done for a request that is about to
// be made. The record may have told of this very one before.
func (m *Machine) Already(i intent.Intent) bool {
	for _, n := range m.covered(i.Scope) {
		if w := &m.wans[n]; w.ordered.Role != i.Role || !w.settled() {
			return false
		}
	}
	return m.serves() && m.cause != i.Token
}

// Judge compares a request with what is. Not done: the answer says what is
// missing.
func (m *Machine) Judge(i intent.Intent) (a control.Answer, done bool) {
	if newer, ok := m.intents.Supersedes(i.Scope, i.Token); ok {
		return control.Answer{Outcome: control.Superseded, Role: newer.Role, By: newer.By()}, true
	}
	a = control.Answer{Outcome: control.Reached, Role: i.Role, Problems: m.problems(i.Scope)}
	if t := m.current; t != nil {
		now := *t
		now.Phases = m.phases(t)
		a.Phases = now.whole().Phases
	} else if len(m.past) > 0 {
		a.Phases = m.past[len(m.past)-1].whole().Phases
	}
	done = m.serves()
	verdicts := m.Decision().WANs
	for _, n := range m.covered(i.Scope) {
		w := &m.wans[n]
		if w.ordered.Role != i.Role {
			// keepalived exited meanwhile, or a request for the instance overrides the scope.
			a.Problems = append(a.Problems, m.config.WANs[n].Name+": stays "+w.ordered.Role.String()+": "+verdicts[n].By)
		}
		done = done && w.settled()
	}
	if len(a.Problems) > 0 {
		a.Outcome = control.Degraded
	}
	return a, done
}
