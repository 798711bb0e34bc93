package wan

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// demote begins an order to be backup: the mute first, everything else later.
func (m *Machine) demote() {
	if m.order.Release && m.lease != nil {
		// After the RELEASE neither a gratuitous ARP may claim the address, nor the
		// client remember the lease.
		m.stopSending()
		m.ask(Release{m.lease}, call{purpose: releasing})
		return
	}
	m.mute()
}

// stopSending ends what this process sends.
func (m *Machine) stopSending() {
	m.act(StopSending{})
	m.client, m.announced, m.reach, m.again = false, nil, control.Reach{}, Never
}

func (m *Machine) mute() {
	m.act(CancelDHCP{})
	m.ask(Mute{}, call{purpose: muting})
}

// mutedNow continues after Mute, which stops raw sockets as well.
func (m *Machine) mutedNow(d Done) {
	m.phase(control.PhaseSilent, m.wan.Name, d.Took, d.Err)
	m.stopSending()
	m.lease, m.held, m.update, m.unusable = nil, false, dhcp.Update{}, nil
	m.act(Publish{})
	m.account()
	switch {
	case d.Err != nil || m.order.Linger <= 0 || m.link == absent:
		m.purge(call{}) // what cannot be muted must not stay
	case m.link == unknown:
		m.ask(Observe{Full: true}, call{purpose: inspecting})
	default:
		m.lingers()
	}
}

// inspected continues after a look at what was muted.
func (m *Machine) inspected(d Done) {
	if d.Err == nil && d.Observed.Owned && d.Observed.Muted {
		m.lingers()
		return
	}
	m.purge(call{})
}

// lingers keeps a mute link until the peer has the connections: the kernel
// deletes what it masqueraded on a link when that goes, and conntrackd passes
// deletions on.
func (m *Machine) lingers() {
	m.link, m.silent, m.gone = muted, true, m.now+m.order.Linger
}

// purge deletes the link of a backup.
func (m *Machine) purge(c call) {
	c.purpose = purging
	m.ask(Purge{}, c)
}

// purged continues after that.
func (m *Machine) purged(c call, d Done) {
	m.fail(d.Err)
	if !m.silent && !m.noted(control.PhaseDeleted) {
		m.phase(control.PhaseDeleted, m.wan.Name, d.Took, d.Err)
	}
	if d.Err != nil && !Foreign(d.Err) {
		m.retry()
	} else {
		// A link that is not ours must not be changed, and waiting changes nothing: it
		// is reported, and observed again when it changes.
		m.link, m.silent = absent, true
	}
	if c.repair && d.Deleted {
		m.act(Log{slog.LevelWarn, "deleted a link that should not have been there: find out what makes it", nil})
	}
}

// look reads the kernel after an event: the event itself may be out of date.
func (m *Machine) look(flap bool) {
	if !m.ordered {
		return
	}
	m.care = m.now + careful
	m.ask(Observe{}, call{purpose: looking, flap: flap})
}

// looked compares what the kernel holds with what it should.
func (m *Machine) looked(c call, d Done) {
	o := d.Observed
	carrier := d.Err == nil && o.Up && o.Carrier
	if m.client {
		m.act(SetCarrier{carrier})
	}
	back := carrier && (!m.carrier || c.flap)
	m.carrier = carrier
	if back {
		m.announceAgain("carrier is back") // the cable may be in another port
	}
	switch {
	case m.gone != Never:
		if d.Err == nil && o.Owned && o.Loose {
			m.ask(Mute{}, call{purpose: remuting}) // one of the two ways to mute it was undone, the other still holds
			return
		}
		if d.Err == nil && (o.Owned && o.Muted || !o.Exists) {
			return // as it should be, until its time has come
		}
		m.gone = Never // somebody unmuted it
	case m.heal != Never:
		if d.Err != nil || !o.ParentExists || !errors.Is(m.err, netif.ErrNoParent) {
			return
		}
		m.heal = Never // what was missing is there: no need to wait
	}
	m.restore()
}

// mutedAgain continues after a Mute of a link that lingers.
func (m *Machine) mutedAgain(d Done) {
	m.act(Log{slog.LevelWarn, "something else changed the queueing discipline or the carrier of a mute link: find out what does that", nil})
	if d.Err != nil {
		m.gone = Never
		m.purge(call{}) // what cannot be muted must not stay
	}
}

// restore makes the kernel match again after something else changed it.
func (m *Machine) restore() {
	if m.order.Role == intent.Backup {
		m.purge(call{repair: true})
		return
	}
	m.raise(call{repair: true, failed: m.err != nil, underway: !m.held})
}

// Foreign reports whether err, if any, is only about links that are not ours.
func Foreign(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if ok {
		for _, e := range joined.Unwrap() {
			if !Foreign(e) {
				return false
			}
		}
		return true
	}
	return errors.Is(err, netif.ErrForeign) || errors.Is(err, netif.ErrTwin)
}

func join(steps []string) string { return strings.Join(steps, ", ") }
