package wan

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// promote begins an order to be primary. The address that a mute link still has
// is kept: with it the kernel would drop the connections that it masqueraded.
func (m *Machine) promote() {
	if m.link == unknown || m.link == muted && m.lease == nil {
		m.ask(Observe{Full: true}, call{purpose: reclaiming})
		return
	}
	m.raise(call{})
}

// reclaimed takes the look at a link that was muted, or at one that nobody has
// looked at before.
func (m *Machine) reclaimed(d Done) {
	if d.Err == nil {
		if m.link == unknown {
			m.found(d.Observed, d.Remembered)
		}
		if m.link == muted && d.Observed.Matches {
			m.lease = covering(d.Observed, d.Remembered, m.now)
		}
	}
	m.raise(call{})
}

// raise takes every step toward the primary role that can be taken now: the link,
// the DHCP client that sends through it, the address once there is a lease and
// the gate is open, and its announcement. Apply changes nothing where the kernel
// is as it should be.
//
// Nothing else lets the link transmit. What has to precede that belongs here:
// today the gate for a link that may have its address already; the answer of a
// peer that is asked to stop transmission would be one more.
func (m *Machine) raise(c call) {
	gated := !m.held && !m.open
	if gated && (m.link == muted || m.link == unknown) {
		return // it may still have the address, and waits as well
	}
	lease := m.lease
	if gated {
		lease = nil
	}
	desired := Plan(m.wan, lease, m.now)
	c.purpose, c.addressed = raising, desired.Addr.IsValid()
	m.ask(Apply{desired, c.repair || m.held}, c)
}

// raised continues after Apply.
func (m *Machine) raised(c call, d Done) {
	if d.Overtaken {
		return
	}
	m.fail(d.Err)
	if d.Err != nil {
		m.held = false
		m.phase(control.PhaseMacvlan, m.wan.Name, d.Took, d.Err)
		m.retry()
		m.tell(c)
		return
	}
	start := !m.client
	if start {
		m.phase(control.PhaseMacvlan, m.wan.Name+" on "+m.wan.Parent, d.Took, nil)
	}
	m.link, m.held = up, c.addressed
	m.refused(d.Changes.Unusable)
	if m.held {
		if !m.noted(control.PhaseAddress) {
			m.phase(control.PhaseAddress, m.lease.Prefix.String(), d.Took, nil)
		}
		c.publish = c.publish || d.Changes.Created // what was said belonged to the link that is gone
		news := d.Changes.Created || d.Changes.Addr || d.Changes.Unmuted
		if news || m.announced == nil || m.announced.Gateway != m.lease.Gateway {
			m.announce(news)
		}
	} else {
		m.stopAnnouncing()
	}
	m.tell(c)
	if c.repair {
		m.repaired(c, d)
	}
	if start {
		m.ask(StartDHCP{}, call{purpose: starting})
	}
}

// refused notes the routes of the lease that the kernel does not take. The WAN is up
// without them.
func (m *Machine) refused(routes []netif.UnusableRoute) {
	var unusable []string
	for _, r := range routes {
		unusable = append(unusable, fmt.Sprintf("the lease's route %v cannot be used: %v", r.Route, r.Err))
	}
	if slices.Equal(unusable, m.unusable) {
		return
	}
	m.unusable = unusable
	for _, u := range unusable {
		m.act(Log{slog.LevelWarn, u, nil})
	}
}

// repaired logs what was repaired. The next repair waits, longer each time, so that
// two programs that undo each other's changes do not do so without a pause.
func (m *Machine) repaired(c call, d Done) {
	switch {
	case c.failed:
		m.act(Log{slog.LevelDebug, "WAN is as it should be again", nil})
	// The event was about the link that has just been made, and came at a moment
	// when the address could be added: no other program changed anything.
	case c.underway && !d.Changes.Created && (d.Changes.Addr || d.Changes.Unmuted):
	case !d.Changes.None():
		m.act(Log{slog.LevelWarn, "restored what was changed behind wanfail's back: find out what does that, `wanfail doctor` may know", []any{"changes", join(d.Changes.Steps)}})
		m.retry()
	}
}

// opened adds the address.
func (m *Machine) opened(epoch int) {
	if !m.ordered || epoch != m.order.Epoch || m.open {
		return
	}
	m.open = true
	if m.order.Role == intent.Primary && (m.link == muted || m.link == unknown || m.lease != nil) && !m.held && m.err == nil {
		m.raise(call{})
	}
}

// learn takes an update of the DHCP client.
func (m *Machine) learn(up dhcp.Update) {
	if !m.client {
		return // of a client that was told to end
	}
	m.update = up
	if up.Lease == m.lease {
		return
	}
	m.lease = up.Lease
	if up.Lease == nil {
		m.act(Publish{})
	} else if !m.noted(control.PhaseLease) {
		m.phase(control.PhaseLease, fmt.Sprintf("%s from %s", up.Lease.Prefix, up.Lease.Server), m.now-m.since, nil)
	}
	m.raise(call{publish: up.Lease != nil, account: true})
}

// tell publishes and logs the lease, as far as the call was to do that.
func (m *Machine) tell(c call) {
	if c.publish && m.lease != nil {
		m.act(Publish{m.lease})
	}
	if c.account {
		m.account()
	}
}

// announce starts to announce the lease that the kernel holds.
func (m *Machine) announce(frames bool) {
	m.act(Announce{m.lease, frames})
	m.announced, m.again = m.lease, Never
	m.carrier = true // what is not so the next look finds, and then its return
	if frames {
		m.announces = m.now
	}
}

// announceAgain is for a MAC that the switch may have learned elsewhere.
func (m *Machine) announceAgain(reason string) {
	if !m.held || !m.ordered {
		return
	}
	if soonest := m.announces + announceSpacing; m.now < soonest {
		m.again = soonest
		return
	}
	m.act(Log{slog.LevelDebug, "announcing the address again", []any{"reason", reason}})
	m.announce(true)
}

func (m *Machine) stopAnnouncing() {
	m.again = Never
	if m.announced != nil {
		m.act(StopAnnouncing{})
		m.announced = nil
	}
}

// account logs the outcome of the lease.
func (m *Machine) account() {
	old, now := m.logged, m.lease
	event := dhcp.Event(old, now)
	m.logged = now
	if event == "" {
		if old != now {
			m.act(Log{slog.LevelDebug, "lease renewed", []any{"address", now.Prefix, "server", now.Server, "lease", now.TTL}})
		}
		return
	}
	var attrs []any
	if now != nil {
		attrs = append(attrs, "address", now.Prefix, "gateway", now.Gateway, "server", now.Server, "lease", lifetime(now.TTL))
	}
	if old != nil {
		attrs = append(attrs, "old_address", old.Prefix)
	}
	if m.from != Never {
		took := "held"
		if event == dhcp.LeaseBound {
			took = "took"
		}
		attrs = append(attrs, took, (m.now - m.from).Round(10*time.Microsecond))
	}
	m.from = m.now
	m.act(Log{slog.LevelInfo, "lease " + ended(event, m.order), attrs})
}

// ended replaces "lost" where this router gave the lease up: it was left to the peer
// or released.
func ended(event string, o Order) string {
	switch {
	case event != dhcp.LeaseLost || o.Role == intent.Primary:
		return event
	case o.Release:
		return "released"
	}
	return "left to the peer"
}

// lifetime is the length of a lease, in words.
func lifetime(ttl time.Duration) string {
	if ttl == dhcp.Infinite {
		return "infinite"
	}
	return ttl.String()
}
