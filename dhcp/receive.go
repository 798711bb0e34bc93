package dhcp

import (
	"errors"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// receive takes an answer. Whatever does not fit the state, the xid or the
// server that was asked is as if it had not come.
func (m *machine) receive(now time.Duration, msg message, s *step) {
	if msg.xid != m.xid || !m.listening(now) {
		return
	}
	if isAnswer(msg.kind) && m.state == Requesting && !m.fromChosen(msg) {
		return
	}
	switch {
	case msg.kind == dhcpv4.MessageTypeOffer:
		m.offered(now, msg, s)
	case m.state >= Rebooting:
		m.judge(now, msg, s)
	case msg.kind == dhcpv4.MessageTypeNak && m.state == Requesting:
		m.refused(now, msg, s)
	case msg.kind == dhcpv4.MessageTypeAck && (m.state == Requesting || m.rapid && msg.rapid):
		m.acked(now, msg)
	}
}

// judge weighs an answer about an address that the client has, or had. The server
// of the lease decides at once. Another one may have taken its place, or should
// not be on this line at all: what it says counts if the server of the lease says
// nothing for a moment.
func (m *machine) judge(now time.Duration, msg message, s *step) {
	other := msg.server.IsValid() && m.server.IsValid() && msg.server != m.server
	if msg.kind == dhcpv4.MessageTypeAck {
		switch {
		case msg.lease == nil:
			m.unusable = msg.refusal // such an ACK confirms nothing
			return
		case msg.lease.Addr() == m.requested:
		case other:
			m.unusable = errOtherAddress // it was not asked for (4.3.2)
			return
		default:
			// The server of the lease means to say that the address is not ours.
			msg.kind, msg.text = dhcpv4.MessageTypeNak, errOtherAddress.Error()
		}
	}
	switch {
	case !other:
		m.conclude(now, msg, s)
	case m.held == nil:
		window := collectWindow
		if m.lease != nil {
			window = min(window, m.lease.RemainingAt(now)/4) // or a short one would end meanwhile
		}
		m.held, m.collect = &msg, now+window
	}
}

// conclude ends an exchange about an address that the client has, or had.
func (m *machine) conclude(now time.Duration, msg message, s *step) {
	m.held, m.collect = nil, never
	if msg.kind == dhcpv4.MessageTypeNak {
		m.refused(now, msg, s)
	} else {
		m.acked(now, msg)
	}
}

// fromChosen reports whether an answer to a REQUEST of SELECTING, which names its
// server, comes from that one. Some operators' servers answer under another
// identifier: a confirmation of the very address is good enough.
func (m *machine) fromChosen(msg message) bool {
	if !msg.server.IsValid() || msg.server == m.offer.Server {
		return true
	}
	return msg.lease != nil && msg.lease.Addr() == m.offer.Addr()
}

// offered weighs an offer. The first one wins, at once, unless something better
// is known: the server or address of last time.
func (m *machine) offered(now time.Duration, msg message, s *step) {
	if m.state != Selecting && m.state != Requesting {
		return
	}
	m.silenced = false
	if msg.lease == nil {
		m.unusable = msg.refusal
		return
	}
	if !msg.server.IsValid() {
		m.unusable = errNoServer // then it cannot be requested
		return
	}
	if m.offer != nil {
		m.rival(msg.lease, m.offer)
	}
	if m.state == Requesting {
		return
	}
	if m.offer == nil || m.score(msg.lease) > m.score(m.offer) {
		m.offer = msg.lease
	}
	switch {
	case m.score(m.offer) == m.best():
		m.choose(now, s)
	case m.collect == never:
		m.collect = now + collectWindow
	}
}

// rival notes a second server with an address of its own. Two servers with one
// address are a failover pair and nothing to report.
func (m *machine) rival(a, b *Lease) {
	if a.Server != b.Server && a.Addr() != b.Addr() {
		m.other = true
	}
}

// score rates an offer; best is the rating that nothing can beat.
func (m *machine) score(l *Lease) int {
	score := 0
	if m.server.IsValid() && (l.Server == m.server || l.Addr() == m.requested) {
		score++
	}
	if m.avoid.IsValid() && l.Server == m.avoid {
		score -= 2
	}
	return score
}

func (m *machine) best() int {
	if m.server.IsValid() {
		return 1
	}
	return 0
}

var (
	errNoServer     = errors.New("no server identifier")
	errOtherAddress = errors.New("it confirms another address than it was asked for")
)

// acked takes a lease into use.
func (m *machine) acked(now time.Duration, msg message) {
	if msg.lease == nil {
		m.unusable = msg.refusal // such an ACK confirms nothing
		return
	}
	l := *msg.lease
	if !l.Server.IsValid() {
		l.Server = m.asked()
	}
	if !l.Server.IsValid() {
		return
	}
	l.Acquired = m.sent
	l.setTimers(m.dice)
	if l.RemainingAt(now) <= 0 {
		return // it came too late to be of use
	}
	if m.offer != nil {
		m.rival(&l, m.offer)
	}
	m.state, m.lease, m.requested, m.server = Bound, &l, l.Addr(), l.Server
	m.offer, m.collect, m.answersUntil, m.failures, m.silenced, m.detail = nil, never, never, 0, false, ""
	m.avoid, m.probe, m.unproven = netip.Addr{}, false, 0
	m.naks = 0 // some servers refuse each RENEW and grant the DISCOVER that follows
	m.answered, m.next = now, m.confirmation(now)
	if t1, ok := l.deadline(l.T1); ok {
		m.next = min(m.next, t1)
	}
	m.diag = OK
	if m.other {
		m.diag = OtherServer
	}
}

// asked is the server that an ACK without an identifier must be from.
func (m *machine) asked() netip.Addr {
	switch {
	case m.offer != nil:
		return m.offer.Server
	case m.lease != nil:
		return m.lease.Server
	}
	return netip.Addr{}
}

// refused ends an exchange with a NAK: the address is void at once and the client
// starts over. A server that refuses to renew is obeyed without delay, since its
// next word is an offer; one that goes on refusing is asked ever less often.
func (m *machine) refused(now time.Duration, msg message, s *step) {
	held := m.state != Requesting
	if !held {
		m.avoid = m.offer.Server
	}
	if now-m.lastNAK > nakMemory {
		m.naks = 0
	}
	m.naks++
	m.lastNAK, m.silenced, m.detail = now, true, msg.text
	m.lease, m.requested, s.forget = nil, netip.Addr{}, true
	m.diag = Refused
	delay := nakDelay(m.naks)
	if held && m.naks == 1 {
		delay = 0
	}
	m.acquire(now + delay)
}
