package router

import (
	"math"
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// Never is a time that does not come.
const Never time.Duration = math.MaxInt64

// CommitLimit is the longest that a replication which is at work may delay the
// address: with 100000 connections a commit takes a second, and an address
// without them is the end of each. For one that hangs or is down the replication
// itself has a shorter limit.
const CommitLimit = 3 * time.Second

// WAN is what the router has to know of a WAN.
type WAN struct {
	Name     string
	Instance string // that drives it; empty: any
}

// Config is what does not change.
type Config struct {
	WANs       []WAN
	Replicated bool // connections are
}

// Machine is one router. Time is boot time and must not run backwards.
type Machine struct {
	config    Config
	instances []string

	intents intent.Intents
	states  intent.States             // what keepalived said last
	owners  map[intent.Process]string // how each watched process ended; empty: it runs

	started bool
	epoch   int
	role    intent.Role
	since   time.Duration
	by      string
	release intent.Token // of the request that gives the lease back
	cause   intent.Token // of the request that was ordered last
	wans    []member

	serving Serve  // what was ordered
	served  Served // what was reported last

	gate    time.Duration  // when it opens at the latest; 0: it is open
	resumed bool           // the replication knows that this router is primary
	faults  map[Job]string // of this role
	last    Job            // that has ended
	down    error          // why the replication would do no job now
	// reclaiming: connections are being taken back from another master; again: and
	// once more after that, since there was one again.
	reclaiming, again bool

	current *transition
	past    []transition
	flaps   flaps

	now   time.Duration // of the step under way
	out   []Action      // of the step under way
	later []Action      // the same, for what may come last
}

// member is the router's view of a WAN.
type member struct {
	ordered wan.Order
	state   wan.State
	found   Found
}

// settled reports whether the WAN has reached the role that was ordered last.
func (w *member) settled() bool { return w.state.Epoch == w.ordered.Epoch && w.state.Settled }

// New makes the machine of a router. unseen are its services, before anybody has
// looked.
func New(c Config, unseen []control.Service) *Machine {
	m := &Machine{
		config: c, owners: map[intent.Process]string{}, faults: map[Job]string{},
		wans: make([]member, len(c.WANs)), served: Served{Services: unseen}, by: Nobody,
	}
	for _, w := range c.WANs {
		m.instances = append(m.instances, w.Instance)
	}
	return m
}

// Step takes the machine through events, all of which it knows before it decides.
func (m *Machine) Step(now time.Duration, events ...Event) []Action {
	m.now, m.out, m.later = now, nil, nil
	for _, e := range events {
		m.learn(e)
	}
	m.own()
	m.decide()
	m.openGate()
	m.resume()
	m.conclude()
	return append(m.out, m.later...)
}

// learn takes note of an event.
func (m *Machine) learn(event Event) {
	switch e := event.(type) {
	case Started:
		for i, f := range e.Found {
			m.wans[i].found, m.wans[i].state.WAN = f, f.State
		}
		m.takeIntents(e.Intents, e.States, e.Ended)
	case Requested:
		if e.Release && len(e.Intents) > 0 {
			m.release = e.Intents[0].Token
		}
		m.takeIntents(e.Intents, e.States, e.Ended)
	case Gone:
		if why, watched := m.owners[e.Process]; watched && why == "" {
			m.owners[e.Process] = e.Why
		}
	case Reached:
		m.wans[e.WAN].state = e.State
	case Served:
		m.served = e
	case Replicated:
		m.replicated(e)
	case ReplicaHealth:
		m.down = e.Problem
	case LowerAdvert:
		m.reclaim(e)
	}
}

// Wake is when the machine wants to be told Woke; Never: not at all.
func (m *Machine) Wake() time.Duration {
	if m.gate == 0 {
		return Never
	}
	return m.gate
}

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

// takeIntents adds intents. A process that has ended need not be watched.
func (m *Machine) takeIntents(is []intent.Intent, states intent.States, ended []intent.Process) {
	for _, p := range ended {
		if m.owners[p] == "" {
			m.owners[p] = Exited
		}
	}
	for _, i := range is {
		m.intents, _ = m.intents.With(i)
		m.states = m.states.With(i, m.gone)
	}
	for _, i := range states {
		m.states = m.states.With(i, m.gone)
	}
}

// gone reports whether a process has ended, or is about to.
func (m *Machine) gone(p intent.Process) bool { return m.owners[p] != "" }

// own watches each process that an intent depends on, and no other.
func (m *Machine) own() {
	needed := map[intent.Process]bool{}
	for _, w := range watches(m.intents, m.states, m.gone) {
		needed[w.Process] = true
		if _, watched := m.owners[w.Process]; !watched {
			m.owners[w.Process] = ""
			m.act(w)
		}
	}
	for p := range m.owners {
		if !needed[p] {
			delete(m.owners, p)
			m.act(Unwatch{p})
		}
	}
}

// decide compares what should be with what was ordered.
func (m *Machine) decide() {
	d := m.Decision()
	var news Verdict // what is new
	changed := map[int]Verdict{}
	for i, v := range d.WANs {
		if !m.started || v.Role != m.wans[i].ordered.Role {
			changed[i] = v
			news = v
		}
	}
	if !m.started || len(changed) > 0 {
		if news.By == "" {
			news = d.Verdict
		}
		m.begin(d.Role, news, changed)
	}
}

// Decision is what the known intents mean.
func (m *Machine) Decision() Decision {
	return Decide(m.intents, m.instances, func(p intent.Process) string { return m.owners[p] })
}

// begin orders what has changed. WANs that follow others to the role that the
// router is on its way to take part in that transition.
func (m *Machine) begin(role intent.Role, news Verdict, changed map[int]Verdict) {
	if !m.joins(role, changed) {
		m.abandon()
		m.epoch++
		m.current = &transition{epoch: m.epoch, at: m.now, Transition: control.Transition{Role: role, By: news.By}}
	}
	m.cause = news.Token
	m.act(Begin{role})
	if !m.started || role != m.role {
		m.turn(role, news.By)
	}
	for i := range m.wans {
		v, isNew := changed[i]
		if !isNew {
			continue
		}
		o := wan.Order{Epoch: m.epoch, Role: v.Role, Open: v.Role == intent.Primary && m.gate == 0}
		o.Release = v.Role == intent.Backup && v.Token != (intent.Token{}) && v.Token == m.release
		if m.config.Replicated {
			o.Linger = Lingering
		}
		m.wans[i].ordered = o
		m.act(Order{i, o})
	}
	m.started = true
}

// joins reports whether the changes continue the transition under way and revert
// nothing of it.
func (m *Machine) joins(role intent.Role, changed map[int]Verdict) bool {
	if m.current == nil || role != m.role {
		return false
	}
	for i, v := range changed {
		if v.Role != role || m.wans[i].ordered.Epoch == m.current.epoch {
			return false
		}
	}
	return true
}

// turn does what the role of the whole router asks for, beside its WANs.
func (m *Machine) turn(role intent.Role, by string) {
	m.act(SetFallback{role})
	clear(m.faults)
	m.gate, m.resumed, m.reclaiming, m.again = 0, true, false, false
	switch {
	case role == intent.Primary && !m.started && slices.ContainsFunc(m.wans, func(w member) bool { return w.found.Up }):
		// It was primary before this keeper came: the connections are the kernel's own.
	case role == intent.Primary:
		m.resumed = false
		m.replicate(Commit)
		if m.config.Replicated {
			m.gate = m.now + CommitLimit
		}
	case m.started || slices.ContainsFunc(m.wans, func(w member) bool { return w.found.Held }):
		// Only a router that was primary: a returning one must not touch the table
		// that the peer is still sending it.
		m.replicate(Yield)
	}
	if m.started {
		m.flaps.turned(m)
	}
	m.role, m.since, m.by = role, m.now, by
	m.serving = Serve{Epoch: m.epoch, Up: role == intent.Primary}
	m.act(m.serving)
	m.act(Turned{role, by})
}

func (m *Machine) replicate(j Job) {
	if m.config.Replicated {
		m.act(Replicate{j, m.epoch})
	}
}

// openGate allows the addresses when the commit has ended, or has taken too long.
func (m *Machine) openGate() {
	if m.gate == 0 || m.now < m.gate {
		return
	}
	m.gate = 0
	for i, w := range m.wans {
		if w.ordered.Role == intent.Primary {
			m.act(OpenGate{i, w.ordered.Epoch})
		}
	}
}

// resume lets the replication follow once a promoted address is up.
func (m *Machine) resume() {
	if m.role != intent.Primary || m.resumed {
		return
	}
	for _, w := range m.wans {
		if w.ordered.Role == intent.Primary && w.settled() {
			m.resumed = true
			if m.config.Replicated {
				m.act(Replicate{Resume, m.serving.Epoch})
			}
			return
		}
	}
}

// replicated takes the end of a job of the replication.
func (m *Machine) replicated(e Replicated) {
	p := control.Phase{Name: string(e.Job), Took: e.Took}
	if e.Err != nil {
		p.Error = e.Err.Error()
	}
	if t := m.of(e.Epoch); t != nil && !m.reclaiming {
		p.At = e.Ended - t.at
		t.extra = append(t.extra, p)
	}
	if e.Epoch != m.serving.Epoch {
		return // of an earlier role
	}
	m.faults[e.Job], m.last = p.Error, e.Job
	if e.Job == Commit && m.gate != 0 {
		m.gate = m.now
	}
	m.reclaimed(e.Job)
}

// reclaim takes back what another router had for a moment: the MAC address in the
// switches, and the connections, which continued there. This router has their
// earlier state, and the firewall drops packets that do not match it.
func (m *Machine) reclaim(e LowerAdvert) {
	primary := false
	for i, w := range m.wans {
		if (intent.Intent{Scope: e.Scope}).Covers(m.instances[i]) && w.ordered.Role == intent.Primary {
			m.act(Announce{i, e.Reason})
			primary = true
		}
	}
	switch {
	case !primary || !m.resumed || !m.config.Replicated: // a promotion under way does all that
	case m.reclaiming:
		m.again = true
	default:
		m.reclaiming = true
		m.act(Replicate{Commit, m.serving.Epoch})
	}
}

// reclaimed continues when a job of that has ended: the other router needs what
// this one has now, as after a promotion.
func (m *Machine) reclaimed(j Job) {
	switch {
	case !m.reclaiming:
	case j == Commit:
		m.act(Replicate{Resume, m.serving.Epoch})
	case j == Resume:
		m.reclaiming = m.again
		if m.again {
			m.again = false
			m.act(Replicate{Commit, m.serving.Epoch})
		}
	}
}

// serves reports whether the services are as ordered last, or cannot be.
func (m *Machine) serves() bool { return m.served.Epoch == m.serving.Epoch && m.served.Settled }
