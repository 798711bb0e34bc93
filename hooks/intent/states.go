package intent

import (
	"fmt"
	"slices"
	"strings"
)

// States are the VRRP states that keepalived reported last, at most one intent for
// each instance or group. They stay as they are when a person's command, or
// anything else that is newer, decides about the role, so that the two can be
// compared.
type States []Intent

// With returns the states with i among them, if keepalived reported it and nothing
// newer of the same name. What an earlier keepalived reported of other instances is
// removed once it has exited and another one reports: that one may have no instance
// of that name.
func (s States) With(i Intent, gone func(Process) bool) States {
	if i.Owner == (Process{}) {
		return s
	}
	for _, o := range s {
		if o.Scope == i.Scope && o.Token.Compare(i.Token) > 0 {
			return s
		}
	}
	s = slices.DeleteFunc(slices.Clone(s), func(o Intent) bool {
		return o.Scope == i.Scope || o.Owner != i.Owner && gone(o.Owner)
	})
	return append(s, i)
}

// Living returns those whose keepalived still runs.
func (s States) Living(gone func(Process) bool) States {
	return slices.DeleteFunc(slices.Clone(s), func(i Intent) bool { return gone(i.Owner) })
}

// For returns the newest state that covers instance.
func (s States) For(instance string) (newest Intent, ok bool) { return Intents(s).For(instance) }

// Dispute is a role that was set by hand while keepalived says something else.
type Dispute struct {
	ByHand     Intent
	Keepalived Intent
}

// Disputed compares a request by hand with the state of VRRP as far as a running
// keepalived has notified it, for a WAN that is bound to instance.
func (s States) Disputed(byHand Intent, instance string, gone func(Process) bool) (d Dispute, disputed bool) {
	if byHand.Owner != (Process{}) || !byHand.Covers(instance) {
		return Dispute{}, false
	}
	said, ok := s.Living(gone).For(instance)
	return Dispute{byHand, said}, ok && said.Role != byHand.Role
}

// Says describes the state that keepalived reported, for people.
func (d Dispute) Says() string {
	i := d.Keepalived
	name := i.Scope
	if name != "" {
		name += " "
	}
	return fmt.Sprintf("keepalived[%d] says %s%s", i.Owner.PID, name, i.VRRPState())
}

// VRRPState is the state by keepalived's name: its hook for MASTER says `primary`.
func (i Intent) VRRPState() string {
	if i.Role == Primary {
		return "MASTER"
	}
	return strings.ToUpper(i.State)
}

// Text is a warning for as long as the two differ.
func (d Dispute) Text() string {
	if d.ByHand.Role == Primary {
		return "primary, set by hand; " + d.Says() + ": if the peer is master, both are primary now; `wanfail backup` undoes it"
	}
	return "backup, set by hand; " + d.Says() + ": while that lasts, neither router may be primary; `wanfail primary` undoes it"
}
