package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxPending bounds the updates that a slow consumer has not taken.
const maxPending = 16

// maxFaults bounds the kinds of malformed packets that are logged; all are counted.
const maxFaults = 32

// loop is one Run: it feeds the machine and does what the machine says.
type loop struct {
	*Client
	ctx     context.Context
	updates chan<- Update
	alarm   alarm
	machine *machine

	conn    conn // open exactly while the machine awaits an answer
	packets chan datagram
	xid     atomic.Uint32 // of the exchange, for the reader of packets
	pending []Update
	last    Update
	downs   int // of Client.downs, seen so far
	faults  map[string]bool

	host   Host          // of Config.Host, as it was at the time asked
	asked  time.Duration // for host
	hidden bool          // host could not be had, and that has been logged
	again  time.Duration // when the lease in use is compared with host next; never: not requested

	troubled bool // the last attempt to send or receive failed
}

func (l *loop) run() {
	s := l.machine.handle(l.clock.now(), l.begin())
	if s.change && s.update.Lease != nil {
		// The remembered lease comes into use before anything else happens.
		l.note(s)
		select {
		case l.updates <- s.update:
		case <-l.ctx.Done():
			return
		}
		l.pending = nil
		s.change = false
	}
	l.do(s)
	for l.ctx.Err() == nil {
		out, first := l.updates, Update{}
		if len(l.pending) > 0 {
			first = l.pending[0]
		} else {
			out = nil
		}
		select {
		case <-l.ctx.Done():
		case out <- first:
			l.pending = l.pending[1:]
		case <-l.alarm.C():
			if l.again <= l.clock.now() {
				l.recheck()
			}
			l.feed(evTick{})
		case d := <-l.packets:
			l.packet(d)
		case <-l.changed:
			l.requested()
		}
	}
}

// begin reads the lease file.
func (l *loop) begin() evStart {
	l.mu.Lock()
	l.downs = l.Client.downs
	e := evStart{carrier: l.Client.up}
	l.mu.Unlock()
	m, err := l.cfg.recall(l.clock.now())
	if err != nil {
		l.log.Debug("remembered lease is not usable", "file", l.cfg.LeaseFile.String(), "error", err)
	}
	if m != nil {
		e.lease, e.foreign = l.reviewed(&m.Lease), !m.thisBoot
	}
	return e
}

// survey asks what else this router has. Without an answer what is known goes on
// to count.
func (l *loop) survey() {
	l.asked = l.clock.now()
	if l.cfg.Host == nil {
		return
	}
	h, err := l.cfg.Host()
	if err != nil {
		if !l.hidden {
			l.log.Warn("cannot compare leases with the router's other networks", "error", err)
		}
		l.hidden = true
		return
	}
	l.host, l.hidden = h, false
}

// reviewed is what can be used of the remembered lease; nil if nothing can.
func (l *loop) reviewed(old *Lease) *Lease {
	l.survey()
	lease, err := l.cfg.review(old, &l.host)
	if err != nil {
		l.log.Warn("the remembered lease is not used: "+finding(err).Text(), "reason", err)
		return nil
	}
	return lease
}

// recheck compares the lease in use with the router's other networks, which may
// have changed since it was taken.
func (l *loop) recheck() {
	l.again = never
	held := l.machine.lease
	if held == nil {
		return
	}
	l.survey()
	if lease, err := l.cfg.review(held, &l.host); lease != held {
		l.feed(evReview{lease, err})
	}
}

func (l *loop) feed(event any) {
	l.do(l.machine.handle(l.clock.now(), event))
}

// do carries out a step. A packet that cannot leave is an event of its own.
func (l *loop) do(s step) {
	if l.ctx.Err() != nil {
		return
	}
	forget := s.forget
	for s.send != nil {
		err := l.send(s)
		if err == nil {
			break
		}
		l.note(s)
		s = l.machine.handle(l.clock.now(), evUnsent{down: linkDown(err)})
		forget = forget || s.forget
	}
	l.note(s)
	l.offer()
	l.remember(s, forget)
	if !s.listen {
		l.hangUp()
	}
	if err := l.alarm.set(min(s.wake, l.again)); err != nil {
		l.log.Error("set timer", "error", err)
	}
}

// send opens the sockets if need be, since an answer can be back before send
// returns, and sends.
func (l *loop) send(s step) error {
	err := l.transmit(s)
	if err != nil {
		l.trouble("send "+s.send.kind.String(), err)
		l.hangUp() // the sockets may belong to a device that is gone
		return err
	}
	l.troubled = false
	l.survey() // while the answer is on its way
	l.log.Debug("sent", "message", s.send.kind, "xid", s.send.xid, "address", s.send.addr)
	return nil
}

func (l *loop) transmit(s step) error {
	l.xid.Store(s.send.xid)
	if l.conn == nil {
		c, err := l.transport.open(l.wanted, l.packets)
		if err != nil {
			return err
		}
		l.conn = c
	}
	r := s.send
	payload := l.cfg.encode(*r)
	if l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	switch r.kind {
	case renew:
		return l.conn.routed(r.addr, r.server, payload)
	case rebind:
		return l.conn.routed(r.addr, netip.AddrFrom4([4]byte{255, 255, 255, 255}), payload)
	}
	return l.conn.broadcast(payload)
}

// wanted runs in the goroutine that receives.
func (l *loop) wanted(b []byte) bool { return isReplyTo(b, l.xid.Load(), l.cfg.MAC) }

func (l *loop) hangUp() {
	if l.conn != nil {
		l.conn.close()
		l.conn = nil
	}
}

// packet decodes what was received.
func (l *loop) packet(d datagram) {
	if d.from != l.conn {
		return // of an exchange that is over
	}
	if d.err != nil {
		// The device went down or away. Try again with a new socket.
		l.hangUp()
		l.trouble("receive", d.err)
		l.feed(evUnsent{down: linkDown(d.err)})
		return
	}
	m, err := l.cfg.decode(d.payload)
	if err != nil {
		l.fault("malformed packet dropped", err)
		return
	}
	if m.lease != nil {
		m.lease, m.refusal = l.cfg.review(m.lease, &l.host)
	}
	if m.refusal != nil {
		l.fault("unusable "+m.kind.String(), m.refusal)
	}
	for _, f := range m.faults {
		l.fault("answer corrected", errors.New(f))
	}
	l.feed(evMessage{m})
}

// fault logs what is wrong with a packet, once for each kind and not for too many
// kinds: a flood of packets must not become a flood of lines. It is no warning: a
// packet that stands between us and a lease is a finding, and the finding warns.
func (l *loop) fault(what string, err error) {
	kind := what + err.Error()
	if !l.faults[kind] && len(l.faults) < maxFaults {
		l.faults[kind] = true
		l.log.Debug(what, "error", err)
	}
}

// trouble logs an error of this machine's own, once until a packet leaves again.
func (l *loop) trouble(what string, err error) {
	level := slog.LevelWarn
	if l.troubled {
		level = slog.LevelDebug
	}
	l.troubled = true
	l.log.Log(l.ctx, level, what, "error", err)
}

// requested passes on what the consumer has asked for.
func (l *loop) requested() {
	l.mu.Lock()
	up, downs, doubt := l.Client.up, l.Client.downs, l.doubt
	l.doubt = false
	l.mu.Unlock()
	if l.downs != downs && up {
		l.feed(evCarrier{up: false})
	}
	l.downs = downs
	l.again = max(l.clock.now(), l.asked+recheckSpacing)
	l.feed(evCarrier{up: up})
	if doubt {
		l.feed(evConfirm{})
	}
}

// note queues and logs a change.
func (l *loop) note(s step) {
	if !s.change {
		return
	}
	if len(l.pending) == maxPending {
		l.pending = l.pending[1:]
	}
	l.pending = append(l.pending, s.update)
	l.report(l.last, s.update)
	l.last = s.update
}

// offer hands an update over if the consumer waits for one: at once, before
// anything slow.
func (l *loop) offer() {
	for len(l.pending) > 0 {
		select {
		case l.updates <- l.pending[0]:
			l.pending = l.pending[1:]
		default:
			return
		}
	}
}

// report logs a change: a warning for a finding, which says what to do.
func (l *loop) report(old, now Update) {
	if now.Diagnosis != old.Diagnosis {
		level := slog.LevelWarn
		if now.Diagnosis == OK {
			level = slog.LevelDebug // the consumer logs the lease
		}
		attrs := []any{"diagnosis", now.Diagnosis, "state", now.State}
		if now.Detail != "" {
			attrs = append(attrs, "detail", now.Detail)
		}
		l.log.Log(l.ctx, level, "dhcp: "+now.Diagnosis.Text(), attrs...)
	}
	if now.Lease != nil {
		for _, what := range now.Lease.Omitted {
			if old.Lease == nil || !slices.Contains(old.Lease.Omitted, what) {
				l.log.Warn("left out of the lease: "+what, "server", now.Lease.Server)
			}
		}
	}
	l.log.Debug("dhcp state", "from", old.State, "to", now.State, "lease", now.Lease != nil)
}

// remember keeps the lease file in step with the lease.
func (l *loop) remember(s step, void bool) {
	if l.cfg.LeaseFile == nil {
		return
	}
	var err error
	switch {
	case void && s.update.Lease == nil:
		err = l.cfg.forget()
	case s.change && s.update.State == Bound && s.update.Lease != nil:
		err = l.cfg.remember(s.update.Lease)
	}
	if err != nil {
		// Without the lease file the next start takes one more round trip, no worse.
		l.log.Warn("cannot remember lease: is there room in the run directory?", "file", l.cfg.LeaseFile.String(), "error", err)
	}
}

// linkDown reports whether an error of a socket means that the device is down or
// gone.
func linkDown(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
