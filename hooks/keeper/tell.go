package keeper

import (
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
)

// tell reports where the uplink stands.
func (u *uplink) tell() {
	if !u.started {
		return
	}
	r := reached{epoch: u.now.epoch, lease: u.lease, phases: slices.Clone(u.phases)}
	r.wan = hooks.WAN{
		Name: u.wan.Name, Parent: u.wan.Parent, MAC: u.wan.MAC.String(), Role: u.now.role,
		State: u.state(),
	}
	if u.err != nil {
		r.wan.Error = u.err.Error()
	}
	switch u.now.role {
	case hooks.Backup:
		r.settled = u.silent
	case hooks.Primary:
		r.settled = u.held
		u.describe(&r.wan)
	}
	if u.err != nil {
		r.problems = append(r.problems, u.wan.Name+": "+u.err.Error())
	} else if u.now.role == hooks.Primary && !u.held {
		r.problems = append(r.problems, u.wan.Name+": no lease yet: "+u.why())
	}
	u.report(r)
}

// state is the word for hooks.WAN.State.
func (u *uplink) state() string {
	switch {
	case u.now.role == hooks.Backup && u.muted:
		return hooks.StateMuted
	case u.now.role == hooks.Backup && foreign(u.err):
		return hooks.StateForeign
	case u.now.role == hooks.Backup:
		return hooks.StateStandby
	case u.exchange == nil:
		return hooks.StateDown
	default:
		return u.update.State.String()
	}
}

// why says what a WAN without a lease waits for.
func (u *uplink) why() string {
	switch {
	case u.lease != nil || u.muted:
		return "waiting for conntrackd"
	case u.update.Diagnosis != dhcp.OK:
		return u.update.Diagnosis.Text()
	default:
		return "no answer so far"
	}
}

// describe fills in what a lease says.
func (u *uplink) describe(w *hooks.WAN) {
	if u.update.Diagnosis != dhcp.OK {
		w.Diagnosis = u.update.Diagnosis.String()
	}
	l := u.lease
	if l == nil {
		return
	}
	w.Address, w.Gateway, w.Server, w.DNS = l.Prefix, l.Gateway, l.Server, l.DNS
	refresh(w, l)
	if u.reach != (hooks.Reach{}) {
		reach := u.reach
		w.Gatewayed = &reach
	}
}

// account logs what has become of the lease, after everything that matters more.
func (u *uplink) account() {
	old, now := u.logged, u.lease
	event := dhcp.Event(old, now)
	u.logged = now
	if event == "" {
		if old != now {
			u.log.Debug("lease renewed", "address", now.Prefix, "server", now.Server, "lease", now.TTL)
		}
		return
	}
	var attrs []any
	if now != nil {
		attrs = append(attrs, "address", now.Prefix, "gateway", now.Gateway, "server", now.Server, "lease", duration(now.TTL))
	}
	if old != nil {
		attrs = append(attrs, "old_address", old.Prefix)
	}
	switch since := time.Since(u.from).Round(10 * time.Microsecond); {
	case u.from.IsZero():
	case event == dhcp.LeaseBound:
		attrs = append(attrs, "took", since)
	default:
		attrs = append(attrs, "held", since)
	}
	u.from = time.Now()
	u.log.Info("lease "+ended(event, u.now), attrs...)
}

// ended says in place of "lost" how a lease ended that this router gave up: it is
// the peer's now, or nobody's.
func ended(event string, o order) string {
	switch {
	case event != dhcp.LeaseLost || o.role == hooks.Primary:
		return event
	case o.release:
		return "released"
	}
	return "left to the peer"
}

// duration is the length of a lease, in words.
func duration(ttl time.Duration) string {
	if ttl == dhcp.Infinite {
		return "infinite"
	}
	return ttl.String()
}

// refresh sets what changes with time alone.
func refresh(w *hooks.WAN, l *dhcp.Lease) {
	w.LeaseSeconds, w.LeaseTotal, w.RenewSeconds = -1, -1, 0
	if l.Infinite() {
		return
	}
	left := l.Remaining()
	w.LeaseSeconds, w.LeaseTotal = int64(left/time.Second), int64(l.TTL/time.Second)
	if renew := left - (l.TTL - l.T1); renew > 0 {
		w.RenewSeconds = int64(renew / time.Second)
	}
}
