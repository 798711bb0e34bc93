package dhcp

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// machine is the client as a pure function of time and events: it reads no clock
// and does no I/O. Time is boot time and must not run backwards.
type machine struct {
	dice  *rand.Rand
	rapid bool // Config.RapidCommit

	state   State
	carrier bool
	lease   *Lease // held; nil: no address
	diag    Diagnosis
	detail  string

	// The exchange under way.
	xid          uint32
	began        time.Duration // of the acquisition or renewal, for secs
	sent         time.Duration // of the first REQUEST: where the lease counts from
	secs         time.Duration // of the last DISCOVER: its REQUEST repeats it (3.1, step 3)
	tries        int
	next         time.Duration // the state's own deadline
	answersUntil time.Duration // end of the answer window of RENEWING and REBINDING

	offer   *Lease        // the best so far in SELECTING, the chosen one in REQUESTING
	held    *message      // answer of another server than that of the lease, while that one may still answer
	collect time.Duration // end of the collecting window; never: none open

	// Kept from one exchange to the next.
	requested netip.Addr    // to ask for: the last address, unless it was refused
	answered  time.Duration // when the lease in use was confirmed, or its confirmation given up
	probe     bool          // requested may still be ours: ask by INIT-REBOOT
	unproven  int           // attempts since a lease in use went unconfirmed; 0: confirmed
	server    netip.Addr    // of the last lease
	avoid     netip.Addr    // it offered, and then gave no ACK or a NAK
	other     bool          // another server offered another address in this exchange
	unusable  error         // why the last offer or ACK of this exchange could not be used
	silenced  bool          // a NAK came, and nothing since
	naks      int
	lastNAK   time.Duration
	started   time.Duration // when the link or the consumer last started an exchange
	sending   bool          // a packet was passed to the socket, and no error was reported
	failures  int           // local ones in a row
}

// The events.
type (
	// evStart is the first event, and comes once.
	evStart struct {
		lease   *Lease // remembered, or nil
		foreign bool   // it is from another boot: whether it is still valid cannot be known
		carrier bool
	}
	evTick    struct{}          // the time that step.wake named has come
	evMessage struct{ message } // an answer to our MAC
	evCarrier struct{ up bool } // the link changed
	evConfirm struct{}          // the lease is in doubt: ask whether it still holds
	// evReview follows a change of the router's other networks: what of the lease
	// can be used now, or why none of it.
	evReview struct {
		lease   *Lease
		refusal error
	}
	evUnsent struct{ down bool } // the last packet could not leave; down: the link is
)

// step is what is to be done after an event.
type step struct {
	send   *request      // to be sent, once listening
	listen bool          // sockets must be open exactly while this holds
	wake   time.Duration // when the next tick is due; never: none
	change bool          // update differs from the last one
	update Update
	forget bool // the remembered lease is void
}

func newMachine(c *Config, dice *rand.Rand) *machine {
	return &machine{dice: dice, rapid: c.RapidCommit, next: never, answersUntil: never, collect: never}
}

// handle takes the machine through one event. At most one packet is to be sent
// after it.
func (m *machine) handle(now time.Duration, event any) step {
	before := m.update()
	var s step
	if _, failed := event.(evUnsent); m.sending && !failed {
		m.left()
	}
	m.expire(now, &s)
	switch e := event.(type) {
	case evStart:
		m.start(now, e)
	case evMessage:
		m.receive(now, e.message, &s)
	case evCarrier:
		m.link(now, e.up)
	case evConfirm:
		if m.state == Bound && m.carrier {
			m.next = min(m.next, max(now, m.answered+confirmSpacing))
		}
	case evUnsent:
		m.unsent(now, e.down)
	case evReview:
		m.review(now, e, &s)
	}
	if m.carrier {
		m.due(now, &s)
	}
	m.sending = s.send != nil
	s.wake = m.wake(now)
	s.listen = m.listening(now)
	s.update = m.update()
	s.change = s.update != before
	return s
}

func (m *machine) update() Update {
	return Update{State: m.state, Lease: m.lease, Diagnosis: m.diag, Detail: m.detail}
}

// start begins with what is remembered.
func (m *machine) start(now time.Duration, e evStart) {
	m.carrier = e.carrier
	if e.lease != nil {
		m.requested, m.server, m.probe = e.lease.Addr(), e.lease.Server, e.foreign
		if !e.foreign && e.lease.RemainingAt(now) > 0 {
			m.lease = e.lease
		}
	}
	m.restart(now)
	if !m.carrier {
		m.diag = NoCarrier
	}
}

// restart begins an exchange at the time at: for the remembered address if there
// is one, else for any.
func (m *machine) restart(at time.Duration) {
	m.state, m.next, m.began = Init, at, at
	m.offer, m.held, m.collect, m.answersUntil = nil, nil, never, never
	if m.lease != nil || m.probe {
		m.state = InitReboot
	}
}

// expire ends a lease whose time has come, whatever the state: from here on no
// address may be held (4.4.5).
func (m *machine) expire(now time.Duration, s *step) {
	if m.lease == nil || m.lease.RemainingAt(now) > 0 {
		return
	}
	m.lease, s.forget = nil, true
	m.acquire(now)
}

// acquire goes to INIT, from where a DISCOVER is due at the time at.
func (m *machine) acquire(at time.Duration) {
	if m.state >= Bound {
		m.began = at
	}
	m.state, m.next, m.probe = Init, at, false
	m.offer, m.held, m.collect, m.answersUntil = nil, nil, never, never
}

// review takes over what is left of the lease in use. An address that has become
// that of another network is given up at once, and not asked for again.
func (m *machine) review(now time.Duration, e evReview, s *step) {
	switch {
	case m.lease == nil:
	case e.refusal == nil:
		m.lease = e.lease
	default:
		m.lease, m.requested, m.server, s.forget = nil, netip.Addr{}, netip.Addr{}, true
		m.diag, m.detail = finding(e.refusal), e.refusal.Error()
		m.acquire(m.turn(now))
	}
}

// link follows the carrier. Its loss stops every packet; after its return the
// link may lead elsewhere, which one INIT-REBOOT finds out (3.7).
func (m *machine) link(now time.Duration, up bool) {
	if up && m.carrier && m.failures > 0 {
		m.next = min(m.next, now) // what could not leave may leave now
		if m.diag == NoCarrier {
			m.diag = OK
		}
		return
	}
	if up == m.carrier {
		return
	}
	m.carrier = up
	if !up {
		m.diag = NoCarrier
		m.restart(never)
		return
	}
	m.diag = OK
	m.failures = 0
	m.restart(m.turn(now))
}

// turn is when the next exchange that the link or the consumer starts may begin.
// One that was planned and has not begun gives its turn to the next: a cable that
// was loose for a while must not have to wait for all its flaps.
func (m *machine) turn(now time.Duration) time.Duration {
	if m.started <= now {
		m.started = max(now, m.started+flapSpacing)
	}
	return m.started
}

// left takes note that the last packet is on the wire.
func (m *machine) left() {
	if m.failures = 0; m.diag == NoCarrier {
		m.diag = OK
	}
}

// unsent plans another attempt for a packet that the kernel did not take. That
// costs the network nothing, so it may be soon.
func (m *machine) unsent(now time.Duration, down bool) {
	if m.state == Init || m.state == InitReboot || m.state == Bound {
		return
	}
	m.failures++
	m.next = min(m.next, now+min(localRetry<<min(m.failures-1, 6), lastBackoff))
	if m.state == Selecting {
		m.tries = 0 // a DISCOVER that was not sent shows nothing about the server
	}
	if down {
		m.diag = NoCarrier
	}
}

// due does what the state's deadline asks for.
func (m *machine) due(now time.Duration, s *step) {
	if m.answersUntil <= now {
		m.answersUntil = never
	}
	switch m.state {
	case Selecting:
		if m.collect <= now {
			m.choose(now, s)
			return
		}
	case Rebooting, Renewing, Rebinding:
		if m.collect <= now {
			m.conclude(now, *m.held, s)
			if m.state != Bound {
				m.due(now, s)
			}
			return
		}
	}
	switch m.state {
	case Bound, Renewing:
		if t2, ok := m.lease.deadline(m.lease.T2); ok && t2 <= now {
			if m.state == Bound {
				m.began = now
			} else {
				m.unanswered(NoAnswer)
			}
			m.state, m.next = Rebinding, now
		}
	}
	if now < m.next {
		return
	}
	switch m.state {
	case Init:
		m.state, m.tries, m.other, m.unusable = Selecting, 0, false, nil
		m.began = min(m.began, now) // a lease that ends may begin it before its turn
		m.discover(now, s)
	case Selecting:
		m.unanswered(NoAnswer)
		m.discover(now, s)
	case Requesting:
		if m.tries < requestTries {
			m.ask(now, selectOffer, m.offer.Addr(), m.offer.Server, s)
			return
		}
		m.unanswered(OffersNoAck)
		m.avoid = m.offer.Server
		m.acquire(now)
	case InitReboot:
		m.state, m.tries, m.xid, m.sent, m.other, m.unusable = Rebooting, 0, m.dice.Uint32(), now, false, nil
		m.ask(now, reboot, m.requested, netip.Addr{}, s)
	case Rebooting:
		if m.tries < rebootTries {
			m.ask(now, reboot, m.requested, netip.Addr{}, s)
			return
		}
		m.unconfirmed(now)
	case Bound:
		if t1, ok := m.lease.deadline(m.lease.T1); m.unproven == 0 && (!ok || now < t1) {
			m.restart(now) // any server may answer, not only that of the lease
			m.due(now, s)
			return
		}
		m.state, m.began = Renewing, now
		m.refresh(now, s)
	case Renewing, Rebinding:
		if m.lease.Infinite() {
			m.unanswered(NoAnswer)
			m.state, m.unproven, m.answered = Bound, 0, now // such a lease holds without an answer
			m.next = m.confirmation(now)
			return
		}
		m.refresh(now, s)
	}
}

func (m *machine) discover(now time.Duration, s *step) {
	// With rapid commit a DISCOVER can be answered by a lease that counts from it,
	// so each has an xid of its own.
	if m.tries == 0 || m.rapid {
		m.xid, m.sent = m.dice.Uint32(), now
	}
	m.tries++
	m.secs = now - m.began
	m.next = now + backoff(m.tries, m.dice)
	s.send = &request{kind: discover, xid: m.xid, secs: m.secs, addr: m.requested}
}

// choose requests the best offer.
func (m *machine) choose(now time.Duration, s *step) {
	m.state, m.tries, m.sent, m.collect = Requesting, 0, now, never
	m.ask(now, selectOffer, m.offer.Addr(), m.offer.Server, s)
}

// ask sends a REQUEST of SELECTING or INIT-REBOOT. Its retransmissions share the
// xid, so an ACK does not show which one it answers: the lease counts from the
// first, which errs on the safe side.
func (m *machine) ask(now time.Duration, kind requestKind, addr, server netip.Addr, s *step) {
	m.tries++
	m.next = now + backoff(m.tries, m.dice)
	secs := m.secs
	if kind == reboot {
		secs = now - m.began
	}
	s.send = &request{kind: kind, xid: m.xid, secs: secs, addr: addr, server: server}
}

// refresh sends a RENEW or REBIND. Each has an xid of its own, so that the lease
// counts from the one that was answered: they can be hours apart.
func (m *machine) refresh(now time.Duration, s *step) {
	kind, span := renew, m.lease.T2
	if m.state == Rebinding {
		kind, span = rebind, m.lease.TTL
	}
	deadline, _ := m.lease.deadline(span)
	if m.unusable != nil {
		m.unanswered(NoAnswer)
	}
	m.xid, m.sent, m.unusable = m.dice.Uint32(), now, nil
	m.answersUntil, m.held, m.collect = now+answerWindow, nil, never
	m.next = now + renewWait(now, deadline, m.lease.TTL)
	switch {
	case m.lease.Infinite():
		m.next = m.answersUntil
	case m.unproven > 0:
		m.next = min(m.next, now+unconfirmedRenew<<min(m.unproven, maxUnproven))
		m.unproven++
	}
	s.send = &request{kind: kind, xid: m.xid, secs: now - m.began, addr: m.lease.Addr(), server: m.lease.Server}
}

// unconfirmed ends a REBOOTING without an answer. A lease that is held stays
// for the rest of its time, which 3.2 and 4.4.2 call moving to BOUND; an attempt
// to renew follows soon. Without a lease the address is no longer requested.
func (m *machine) unconfirmed(now time.Duration) {
	m.unanswered(NoAnswer)
	if m.lease == nil {
		m.acquire(now)
		return
	}
	m.state, m.next, m.unproven, m.answered = Bound, now+unconfirmedRenew, 1, now
	m.held, m.collect = nil, never
	if t1, ok := m.lease.deadline(m.lease.T1); ok {
		m.next = min(m.next, t1)
	}
}

// confirmation is when a lease that was confirmed at the time now is in question
// again, if its T1 does not come first.
func (m *machine) confirmation(now time.Duration) time.Duration {
	return now + confirmEvery - between(m.dice, 0, confirmEvery/50)
}

// unanswered draws the conclusion d from a missing answer, unless nothing was sent.
func (m *machine) unanswered(d Diagnosis) {
	switch {
	case m.failures > 0:
	case m.unusable != nil:
		m.diag, m.detail = finding(m.unusable), m.unusable.Error()
	case d == NoAnswer && m.silenced && m.lease == nil:
		m.diag = StuckSession
	default:
		m.diag, m.detail = d, ""
	}
}

// listening reports whether an answer is awaited.
func (m *machine) listening(now time.Duration) bool {
	if !m.carrier {
		return false
	}
	switch m.state {
	case Selecting, Requesting, Rebooting:
		return true
	case Renewing, Rebinding:
		return m.answersUntil != never && now < m.answersUntil
	}
	return false
}

// wake is the earliest deadline of all.
func (m *machine) wake(now time.Duration) time.Duration {
	at := never
	if m.lease != nil {
		if end, ok := m.lease.deadline(m.lease.TTL); ok {
			at = min(at, end)
		}
	}
	if !m.carrier {
		return at
	}
	at = min(at, m.next, m.collect, m.answersUntil)
	if m.state == Bound || m.state == Renewing {
		if t2, ok := m.lease.deadline(m.lease.T2); ok {
			at = min(at, t2)
		}
	}
	return max(at, now)
}

// isAnswer tells the kinds of message that end an exchange.
func isAnswer(k dhcpv4.MessageType) bool {
	return k == dhcpv4.MessageTypeAck || k == dhcpv4.MessageTypeNak
}
