package wan

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// Never is a time that does not come.
const Never time.Duration = math.MaxInt64

const (
	// careful is the time between two looks at the kernel without an event: none
	// reports the routes that were removed with a link.
	careful = 15 * time.Second
	// announceSpacing is the least between two starts of an announcement, each of
	// which repeats by itself for a second. keepalived reports a lower advert as
	// often as it receives one.
	announceSpacing = 100 * time.Millisecond
)

// Machine is one WAN. Time is boot time and must not run backwards.
type Machine struct {
	wan config.WAN

	order   Order
	ordered bool // there was one
	open    bool // its gate is open
	link    linkState
	lease   *dhcp.Lease // granted, or remembered for an address that the link has
	held    bool        // the kernel holds lease, on a link that transmits
	client  bool        // the DHCP client runs
	update  dhcp.Update // its last
	silent  bool        // backup, and the link cannot transmit as far as wanfail controls it
	carrier bool        // at the last look
	err     error       // what keeps the WAN from its role
	call    call        // under way

	unusable []string // routes of the lease that the kernel does not take

	announced *dhcp.Lease   // what is being announced
	announces time.Duration // when that began
	reach     control.Reach

	heal  time.Duration // next repair
	gone  time.Duration // deletion of a mute link
	care  time.Duration // next look without a reason
	again time.Duration // an announcement that was put off
	wait  Backoff

	since  time.Duration // start of the transition to the order's role
	phases []control.Phase
	logged *dhcp.Lease   // the last one in the log
	from   time.Duration // when that came to be; Never: in the time of an earlier process

	now time.Duration // of the step under way
	out []Action      // of the step under way
}

// linkState is what is known of the link.
type linkState uint8

const (
	unknown linkState = iota // not observed yet
	absent
	muted
	up // it may transmit
)

// call is what a call is for.
type call struct {
	purpose   purpose
	addressed bool // raising: with an address
	publish   bool // raising: publish the lease then
	account   bool // raising: log the outcome of the lease then
	repair    bool // raising, purging: something else has changed the kernel
	failed    bool // raising: the last time
	underway  bool // raising: the address was not there yet
	flap      bool // looking: the carrier was lost meanwhile
}

type purpose uint8

const (
	nothing    purpose = iota
	reclaiming         // look at a link that is to be primary again
	raising
	starting // the DHCP client
	releasing
	muting
	remuting   // a link that lingers
	inspecting // look whether there is a muted link at all
	purging
	looking
)

// New makes the machine of a WAN.
func New(wan config.WAN) *Machine {
	return &Machine{
		wan: wan, heal: Never, gone: Never, care: Never, again: Never,
		announces: math.MinInt64 / 2, from: Never,
	}
}

// Step takes the machine through one event.
func (m *Machine) Step(now time.Duration, event Event) []Action {
	m.now, m.out = now, nil
	done, isDone := event.(Done)
	if isDone != (m.call.purpose != nothing) {
		panic(fmt.Sprintf("wan: event %T while call %d is under way", event, m.call.purpose))
	}
	switch e := event.(type) {
	case Done:
		c := m.call
		m.call = call{}
		m.done(c, done)
	case Found:
		m.found(e.Observed, e.Remembered)
	case Ordered:
		m.begin(e.Order)
	case GateOpened:
		m.opened(e.Epoch)
	case LeaseChanged:
		m.learn(e.Update)
	case ClientEnded:
		if m.client {
			m.client = false
			m.retry()
		}
	case KernelChanged:
		m.look(e.CarrierLost)
	case Refresh:
		if m.ordered {
			m.act(Publish{m.lease}) // a backup has none
			m.look(false)
		}
	case MACMoved:
		m.announceAgain(e.Reason)
	case GatewayProbed:
		if m.announced != nil {
			if m.client && m.reach.Reachable && !e.Reachable {
				m.act(ConfirmLease{}) // is it still the right network?
			}
			m.reach = e.Reach
		}
	case Woke:
		m.wake()
	}
	return m.out
}

// Wake is when the machine wants to be told Woke; Never: not at all.
func (m *Machine) Wake() time.Duration { return min(m.heal, m.gone, m.care, m.again) }

func (m *Machine) act(a Action) { m.out = append(m.out, a) }

func (m *Machine) ask(a Action, c call) { m.act(a); m.call = c }

// done continues where a call has ended.
func (m *Machine) done(c call, d Done) {
	switch c.purpose {
	case reclaiming:
		m.reclaimed(d)
	case raising:
		m.raised(c, d)
	case starting:
		if m.client = d.Err == nil; d.Err != nil {
			m.fail(fmt.Errorf("start DHCP client: %w", d.Err))
			m.retry()
		}
	case releasing:
		m.phase(control.PhaseRelease, m.lease.Prefix.String(), d.Took, d.Err)
		m.fail(d.Err)
		m.mute()
	case muting:
		m.mutedNow(d)
	case remuting:
		m.mutedAgain(d)
	case inspecting:
		m.inspected(d)
	case purging:
		m.purged(c, d)
	case looking:
		m.looked(c, d)
	}
}

// found adopts what an earlier process left.
func (m *Machine) found(o netif.Observed, remembered *dhcp.Lease) {
	switch {
	case !o.Owned:
		m.link = absent
	case o.Muted:
		m.link = muted
	default:
		m.link = up
		if o.Matches {
			m.lease = covering(o, remembered, m.now)
		}
	}
	m.held, m.logged = m.lease != nil, m.lease
	if m.held {
		m.from = Never
	}
}

// covering is the remembered lease if it still covers an address of the link.
func covering(o netif.Observed, remembered *dhcp.Lease, now time.Duration) *dhcp.Lease {
	if remembered == nil || remembered.RemainingAt(now) <= 0 {
		return nil
	}
	if !slices.ContainsFunc(o.Addresses, func(a netif.Address) bool { return a.Prefix == remembered.Prefix }) {
		return nil
	}
	return remembered
}

// begin begins an order.
func (m *Machine) begin(o Order) {
	if m.ordered && o.Epoch < m.order.Epoch {
		return
	}
	change := !m.ordered || o.Role != m.order.Role
	m.order, m.open = o, o.Open
	if !m.ordered {
		m.ordered, m.care = true, m.now+careful
	}
	if !change {
		return
	}
	m.since, m.phases, m.err, m.wait = m.now, nil, nil, Backoff{}
	m.heal, m.gone = Never, Never
	if o.Role == intent.Backup {
		m.demote()
		return
	}
	m.silent = false
	if m.logged == nil {
		m.from = m.now
	}
	m.promote()
}

// wake does what is due.
func (m *Machine) wake() {
	if m.again <= m.now {
		m.again = Never
		m.announceAgain("again")
	}
	switch {
	case m.gone <= m.now:
		m.gone = Never
		m.purge(call{})
	case m.heal <= m.now:
		m.heal = Never
		m.restore()
	case m.care <= m.now:
		m.look(false)
	}
}

// fail notes what keeps the WAN from its role and logs it once.
func (m *Machine) fail(err error) {
	if err != nil && (m.err == nil || m.err.Error() != err.Error()) {
		m.act(Log{slog.LevelError, "WAN is not as it should be", []any{"error", err}})
	}
	m.err = err
}

// retry plans a repair.
func (m *Machine) retry() { m.heal = m.now + m.wait.Next(m.now) }

// phase notes that a part of the transition has ended.
func (m *Machine) phase(name, detail string, took time.Duration, err error) {
	const most = 32 // a WAN that keeps healing must not grow without bound
	if len(m.phases) == most {
		return
	}
	p := control.Phase{Name: name, Detail: detail, Took: took, At: m.now - m.since}
	if err != nil {
		p.Error = err.Error()
	}
	m.phases = append(m.phases, p)
}

// noted reports whether the transition has such a phase.
func (m *Machine) noted(name string) bool {
	return slices.ContainsFunc(m.phases, func(p control.Phase) bool { return p.Name == name })
}
