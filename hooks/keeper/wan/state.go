package wan

import (
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// State is what a WAN reports.
type State struct {
	Epoch    int           // of the order; 0: there was none
	Settled  bool          // its role is reached
	WAN      control.WAN   // without what changes with time alone: see Refreshed
	Lease    *dhcp.Lease   // held or waited with
	Held     bool          // the kernel holds it
	Absent   bool          // there is no link
	Since    time.Duration // start of the transition, which phases count from
	Phases   []control.Phase
	Warnings []string // what is wrong with the lease, without keeping the WAN from its role
	Problems []string // why it is not settled, or what is wrong all the same
}

// State is where the WAN stands.
func (m *Machine) State() State {
	s := State{
		Epoch: m.order.Epoch, Lease: m.lease, Held: m.held, Absent: m.link == absent, Since: m.since,
		Phases: slices.Clone(m.phases),
		WAN: control.WAN{
			Name: m.wan.Name, Parent: m.wan.Parent, MAC: m.wan.MAC.String(),
			Role: m.order.Role, State: m.state(),
		},
	}
	if m.err != nil {
		s.WAN.Error = m.err.Error()
		s.Problems = append(s.Problems, m.wan.Name+": "+m.err.Error())
	}
	if m.order.Role == intent.Backup {
		s.Settled = m.silent
		return s
	}
	s.Settled, s.Warnings = m.held, m.unusable
	m.describe(&s.WAN)
	if m.err == nil && !m.held {
		s.Problems = append(s.Problems, m.wan.Name+": no lease yet: "+m.why())
	}
	return s
}

// state is the value of control.WAN.State.
func (m *Machine) state() string {
	switch {
	case m.order.Role == intent.Backup && m.link == muted:
		return control.StateMuted
	case m.order.Role == intent.Backup && m.err != nil && Foreign(m.err):
		return control.StateForeign
	case m.order.Role == intent.Backup:
		return control.StateStandby
	case !m.client:
		return control.StateDown
	default:
		return m.update.State.String()
	}
}

// why says what a WAN without a lease waits for.
func (m *Machine) why() string {
	switch {
	case m.lease != nil || m.link == muted:
		return "waiting for conntrackd"
	case m.update.Diagnosis != dhcp.OK:
		return m.update.Diagnosis.Text()
	default:
		return "no answer so far"
	}
}

// describe fills in what a lease says.
func (m *Machine) describe(w *control.WAN) {
	if m.update.Diagnosis != dhcp.OK {
		w.Diagnosis, w.Detail = m.update.Diagnosis.String(), m.update.Detail
	}
	l := m.lease
	if l == nil {
		return
	}
	w.Address, w.Gateway, w.Server, w.DNS = l.Prefix, l.Gateway, l.Server, l.DNS
	for _, o := range l.Extra {
		w.Options = append(w.Options, o.String())
	}
	if m.reach != (control.Reach{}) {
		reach := m.reach
		w.Gatewayed = &reach
	}
}

// Refreshed is a WAN with what changes with time alone, as of now.
func Refreshed(w control.WAN, l *dhcp.Lease, now time.Duration) control.WAN {
	if l == nil {
		return w
	}
	w.LeaseSeconds, w.LeaseTotal, w.RenewSeconds = -1, -1, 0
	if l.Infinite() {
		return w
	}
	left := l.RemainingAt(now)
	w.LeaseSeconds, w.LeaseTotal = int64(left/time.Second), int64(l.TTL/time.Second)
	if renew := left - (l.TTL - l.T1); renew > 0 {
		w.RenewSeconds = int64(renew / time.Second)
	}
	return w
}
