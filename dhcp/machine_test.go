package dhcp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func testDice() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var (
	serverA = ip("192.0.2.1")
	serverB = ip("192.0.2.2")
)

// rig drives a machine by hand.
type rig struct {
	t    testing.TB
	m    *machine
	now  time.Duration
	last step
	sent []request
}

func newRig(t testing.TB, c Config, start evStart) *rig {
	r := &rig{t: t, m: newMachine(&c, testDice()), now: 1000 * time.Second}
	r.do(start)
	return r
}

func (r *rig) do(event any) step {
	r.last = r.m.handle(r.now, event)
	if r.last.send != nil {
		r.sent = append(r.sent, *r.last.send)
		if !r.last.listen {
			r.t.Fatalf("%v is sent and nobody listens", r.last.send.kind)
		}
	}
	return r.last
}

// tick lets the time pass until the machine has something to do.
func (r *rig) tick() step {
	if r.last.wake == never {
		r.t.Fatalf("%v never wakes", r.m.state)
	}
	r.now = r.last.wake
	return r.do(evTick{})
}

// tickUntil ticks until the state is reached.
func (r *rig) tickUntil(s State) step {
	r.t.Helper()
	for range 100 {
		if r.m.state == s {
			return r.last
		}
		r.tick()
	}
	r.t.Fatalf("%v does not become %v", r.m.state, s)
	return step{}
}

func testLease(server netip.Addr, addr string) *Lease {
	return &Lease{
		Prefix: netip.PrefixFrom(ip(addr), 24), Broadcast: ip("192.0.2.255"), Server: server,
		Routes: []Route{{defaultDst, serverA}}, Gateway: serverA, TTL: time.Hour,
	}
}

// held is a remembered lease that was acquired age ago.
func (r *rig) held(age time.Duration) *Lease {
	l := testLease(serverA, "192.0.2.100")
	l.Acquired = r.now - age
	l.setTimers(testDice())
	return l
}

func (r *rig) msg(kind dhcpv4.MessageType, l *Lease) evMessage {
	m := message{kind: kind, xid: r.m.xid, server: serverA, lease: l}
	if l != nil {
		m.server = l.Server
	} else if kind != dhcpv4.MessageTypeNak {
		m.refusal = errors.New("a lease time of 0")
	}
	return evMessage{m}
}

func (r *rig) offer() evMessage {
	return r.msg(dhcpv4.MessageTypeOffer, testLease(serverA, "192.0.2.100"))
}

func (r *rig) ack() evMessage {
	return r.msg(dhcpv4.MessageTypeAck, testLease(serverA, "192.0.2.100"))
}
func (r *rig) nak() evMessage { return r.msg(dhcpv4.MessageTypeNak, nil) }

// reach makes a machine that has just entered the state.
func reach(t testing.TB, s State) *rig {
	t.Helper()
	probe := rig{now: 1000 * time.Second}
	switch s {
	case Init: // after a refusal, waiting
		r := reach(t, Requesting)
		r.do(r.nak())
		return r
	case Selecting:
		return newRig(t, Config{}, evStart{carrier: true})
	case Requesting:
		r := reach(t, Selecting)
		r.do(r.offer())
		return r
	case InitReboot: // without carrier
		r := newRig(t, Config{}, evStart{lease: probe.held(time.Minute), carrier: true})
		r.do(evCarrier{false})
		return r
	case Rebooting:
		return newRig(t, Config{}, evStart{lease: probe.held(time.Minute), carrier: true})
	case Bound:
		r := reach(t, Requesting)
		r.do(r.ack())
		return r
	case Renewing, Rebinding:
		r := reach(t, Bound)
		r.tickUntil(s)
		return r
	}
	panic(s)
}

// Every state and event: the state that follows, what is sent at once, and
// whether a lease is held. RFC 2131 figure 5 plus the link and local trouble.
func TestStatesAndEvents(t *testing.T) {
	events := []struct {
		name string
		f    func(*rig) any
	}{
		{"offer", func(r *rig) any { return r.offer() }},
		{"ack", func(r *rig) any { return r.ack() }},
		{"nak", func(r *rig) any { return r.nak() }},
		{"unusable ack", func(r *rig) any { return r.msg(dhcpv4.MessageTypeAck, nil) }},
		{"other xid", func(r *rig) any { e := r.ack(); e.xid++; return e }},
		{"early tick", func(r *rig) any { return evTick{} }},
		{"timeout", func(r *rig) any { r.now = max(r.m.next, r.now); return evTick{} }},
		{"carrier lost", func(r *rig) any { return evCarrier{false} }},
		{"carrier", func(r *rig) any { return evCarrier{true} }},
		{"nudge", func(r *rig) any { return evNudge{} }},
		{"unsent", func(r *rig) any { return evUnsent{} }},
		{"expiry", func(r *rig) any {
			if r.m.lease != nil {
				r.now = r.m.lease.Acquired + r.m.lease.TTL
			}
			return evTick{}
		}},
	}
	const table = `
event         init           selecting               requesting              init-reboot         rebooting               bound               renewing               rebinding
offer         init           requesting:select       requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
ack           init           selecting               bound+                  init-reboot+        bound+                  bound+              bound+                 bound+
nak           init           selecting               init                    init-reboot+        selecting:discover      bound+              selecting:discover     selecting:discover
unusable ack  init           selecting               requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
other xid     init           selecting               requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
early tick    init           selecting               requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
timeout       selecting:discover selecting:discover  requesting:select       init                rebooting:reboot+       renewing:renew+     renewing:renew+        rebinding:rebind+
carrier lost  init           init                    init                    init-reboot+        init-reboot+            init-reboot+        init-reboot+           init-reboot+
carrier       init           selecting               requesting              rebooting:reboot+   rebooting+              bound+              renewing+              rebinding+
nudge         init           selecting               requesting              init-reboot+        rebooting+              renewing:renew+     renewing+              rebinding+
unsent        init           selecting               requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
expiry        init           selecting               requesting              init                selecting:discover      selecting:discover  selecting:discover     selecting:discover
`
	sends := [...]string{"discover", "select", "reboot", "renew", "rebind"}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != len(events)+1 {
		t.Fatalf("%d lines for %d events", len(lines), len(events))
	}
	for i, e := range events {
		line := lines[i+1]
		if !strings.HasPrefix(line, e.name+" ") {
			t.Fatalf("line %q is not about %q", line, e.name)
		}
		for s, want := range strings.Fields(line[len(e.name):]) {
			t.Run(fmt.Sprintf("%v/%s", State(s), e.name), func(t *testing.T) {
				r := reach(t, State(s))
				if r.m.state != State(s) {
					t.Fatalf("reached %v", r.m.state)
				}
				event := e.f(r)
				if e.name == "timeout" && State(s) == InitReboot {
					// Nothing is due without carrier but the end of the lease.
					r.now = r.last.wake
				}
				st := r.do(event)
				got := st.update.State.String()
				if st.send != nil {
					got += ":" + sends[st.send.kind]
				}
				if st.update.Lease != nil {
					got += "+"
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if s := st.update.State; st.listen && (s == Init || s == InitReboot || s == Bound) {
					t.Errorf("%v listens", s)
				}
				if r.m.carrier && st.wake < r.now {
					t.Errorf("wake %v is over", st.wake)
				}
			})
		}
	}
}

func (r *rig) kinds() (all []requestKind) {
	for _, s := range r.sent {
		all = append(all, s.kind)
	}
	return all
}

func TestSilenceBacksOff(t *testing.T) {
	r := newRig(t, Config{}, evStart{carrier: true})
	if len(r.sent) != 1 {
		t.Fatal("the first DISCOVER is not sent at once")
	}
	for i, want := range []time.Duration{4, 8, 16, 32, 64, 64, 64} {
		before := r.now
		r.tick()
		wait := r.now - before
		if d := wait - want*time.Second; d < -time.Second || d > time.Second {
			t.Errorf("wait %d is %v", i, wait)
		}
		s := r.sent[len(r.sent)-1]
		if s.kind != discover || s.xid != r.sent[0].xid || s.secs != r.now-1000*time.Second {
			t.Errorf("retransmission %+v", s)
		}
		if r.m.diag != NoAnswer {
			t.Errorf("diagnosis %v", r.m.diag)
		}
	}
	r.do(r.offer())
	if got := r.sent[len(r.sent)-1]; got.secs != r.sent[len(r.sent)-2].secs {
		t.Errorf("secs of the REQUEST is %v, that of the DISCOVER %v", got.secs, r.sent[len(r.sent)-2].secs)
	}
	if r.do(r.ack()); r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
}

func TestBackoffIsFuzzy(t *testing.T) {
	dice, seen := testDice(), map[time.Duration]bool{}
	for range 1000 {
		d := backoff(1, dice)
		if d < 3*time.Second || d > 5*time.Second {
			t.Fatal(d)
		}
		seen[d.Truncate(100*time.Millisecond)] = true
	}
	if len(seen) < 15 {
		t.Errorf("only %d different tenths of a second", len(seen))
	}
}

func TestOffersWithoutAck(t *testing.T) {
	r := reach(t, Requesting)
	start := r.now
	r.tickUntil(Selecting)
	if got := r.kinds(); !slices.Equal(got, []requestKind{discover, selectOffer, selectOffer, selectOffer, discover}) {
		t.Errorf("sent %v", got)
	}
	if r.m.diag != OffersNoAck || r.now-start > 31*time.Second {
		t.Errorf("diagnosis %v after %v", r.m.diag, r.now-start)
	}
	for _, s := range r.sent[1:4] {
		if s.xid != r.sent[0].xid || s.server != serverA || s.addr != ip("192.0.2.100") {
			t.Errorf("REQUEST %+v", s)
		}
	}
	// That server goes first no more: another one gets its chance.
	r.do(r.offer())
	if r.m.state != Selecting {
		t.Fatal("the server that failed is asked again at once")
	}
	r.do(r.msg(dhcpv4.MessageTypeOffer, testLease(serverB, "192.0.2.7")))
	if r.m.state != Requesting || r.m.offer.Server != serverB {
		t.Errorf("%v %+v", r.m.state, r.m.offer)
	}
	// Alone, it is asked again after the window.
	r = reach(t, Requesting)
	r.tickUntil(Selecting)
	r.do(r.offer())
	before := r.now
	if r.tick(); r.m.state != Requesting || r.now-before != collectWindow {
		t.Errorf("%v after %v", r.m.state, r.now-before)
	}
}

func TestRefusalsSlowDown(t *testing.T) {
	r := newRig(t, Config{}, evStart{carrier: true})
	var waits []time.Duration
	for range 14 {
		r.do(r.offer())
		r.tickUntil(Requesting) // the window, since that server is to be avoided
		r.do(r.nak())
		if r.m.diag != Refused || r.m.lease != nil || r.last.listen {
			t.Fatalf("diagnosis %v", r.m.diag)
		}
		before := r.now
		r.tickUntil(Selecting)
		waits = append(waits, (r.now - before).Round(time.Second))
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800, 1800}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v", waits)
	}
	// A cable that is plugged in again is worth one attempt at once.
	r.do(r.offer())
	r.tickUntil(Requesting)
	r.do(r.nak())
	r.do(evCarrier{false})
	r.now += time.Minute
	if r.do(evCarrier{true}); r.m.state != Selecting {
		t.Errorf("%v after the link came back", r.m.state)
	}
	// An hour of peace ends the series.
	r.now += 2 * time.Hour
	r.do(r.offer())
	r.tickUntil(Requesting)
	r.do(r.nak())
	if wait := r.last.wake - r.now; wait != time.Second {
		t.Errorf("wait %v", wait)
	}
}

func TestStuckSession(t *testing.T) {
	for _, s := range []State{Rebooting, Renewing, Requesting} {
		r := reach(t, s)
		e := r.nak()
		e.text = "session exists"
		r.do(e)
		if r.m.diag != Refused || r.last.update.Detail != "session exists" {
			t.Errorf("%v: diagnosis %v %q", s, r.m.diag, r.last.update.Detail)
		}
		r.tickUntil(Selecting)
		if r.sent[len(r.sent)-1].addr.IsValid() {
			t.Errorf("%v: the refused address is asked for again", s)
		}
		r.tick()
		if r.m.diag != StuckSession || r.last.update.Detail != "session exists" {
			t.Errorf("%v: diagnosis %v %q", s, r.m.diag, r.last.update.Detail)
		}
		r.do(r.offer())
		r.tickUntil(Requesting)
		if r.do(r.ack()); r.m.diag != OK || r.last.update.Detail != "" {
			t.Errorf("%v: diagnosis %v", s, r.m.diag)
		}
	}
}

func TestUnusableOffer(t *testing.T) {
	r := reach(t, Selecting)
	r.do(r.msg(dhcpv4.MessageTypeOffer, nil))
	if r.tick(); r.m.diag != Unusable || r.last.update.Detail != "a lease time of 0" {
		t.Errorf("diagnosis %v %q", r.m.diag, r.last.update.Detail)
	}
	l := testLease(netip.Addr{}, "192.0.2.100")
	if r.do(r.msg(dhcpv4.MessageTypeOffer, l)); r.m.state != Selecting {
		t.Error("an offer without server identifier was taken")
	}
	r.do(r.offer())
	if r.do(r.ack()); r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
}

func TestTwoServers(t *testing.T) {
	a, b := testLease(serverA, "192.0.2.100"), testLease(serverB, "192.0.2.7")
	offer := func(r *rig, l *Lease) { r.do(r.msg(dhcpv4.MessageTypeOffer, l)) }

	t.Run("the first wins", func(t *testing.T) {
		r := reach(t, Selecting)
		offer(r, b)
		offer(r, a)
		if r.m.state != Requesting || r.m.offer.Server != serverB {
			t.Fatalf("%v %v", r.m.state, r.m.offer)
		}
		if r.do(r.nakFrom(serverA)); r.m.state != Requesting {
			t.Error("a NAK of the server that was not asked counts")
		}
		if r.do(r.msg(dhcpv4.MessageTypeAck, a)); r.m.state != Requesting {
			t.Error("an ACK of the server that was not asked, for another address, counts")
		}
		if r.do(r.msg(dhcpv4.MessageTypeAck, b)); r.m.state != Bound || r.m.diag != OtherServer {
			t.Errorf("%v, diagnosis %v", r.m.state, r.m.diag)
		}
	})
	t.Run("the remembered one wins", func(t *testing.T) {
		probe := rig{now: 1000 * time.Second}
		r := newRig(t, Config{}, evStart{lease: probe.held(2 * time.Hour), carrier: true}) // expired
		if s := r.sent[0]; s.kind != discover || s.addr != ip("192.0.2.100") {
			t.Fatalf("sent %+v", s)
		}
		offer(r, b)
		if r.m.state != Selecting {
			t.Fatal("a stranger's offer was taken at once")
		}
		r.now += collectWindow / 2
		offer(r, a)
		if r.m.state != Requesting || r.m.offer.Server != serverA {
			t.Errorf("%v %v", r.m.state, r.m.offer)
		}
	})
	t.Run("a stranger is better than nobody", func(t *testing.T) {
		probe := rig{now: 1000 * time.Second}
		r := newRig(t, Config{}, evStart{lease: probe.held(2 * time.Hour), carrier: true})
		offer(r, b)
		before := r.now
		if r.tick(); r.m.state != Requesting || r.m.offer.Server != serverB || r.now-before != collectWindow {
			t.Errorf("%v after %v", r.m.state, r.now-before)
		}
	})
	t.Run("the expected prefix wins", func(t *testing.T) {
		r := newRig(t, Config{Expect: pfx("192.0.2.64/26")}, evStart{carrier: true})
		offer(r, b)
		offer(r, a)
		if r.m.state != Requesting || r.m.offer.Server != serverA {
			t.Errorf("%v %v", r.m.state, r.m.offer)
		}
	})
	t.Run("an unexpected address is better than none", func(t *testing.T) {
		r := newRig(t, Config{Expect: pfx("192.0.2.64/26")}, evStart{carrier: true})
		offer(r, b)
		r.tick()
		if r.do(r.msg(dhcpv4.MessageTypeAck, b)); r.m.state != Bound || r.m.diag != UnexpectedAddress {
			t.Errorf("%v, diagnosis %v", r.m.state, r.m.diag)
		}
	})
	t.Run("a failover pair", func(t *testing.T) {
		r := reach(t, Selecting)
		offer(r, a)
		offer(r, testLease(serverB, "192.0.2.100"))
		if r.do(r.msg(dhcpv4.MessageTypeAck, testLease(serverB, "192.0.2.100"))); r.m.state != Bound || r.m.diag != OK {
			t.Errorf("%v, diagnosis %v", r.m.state, r.m.diag)
		}
	})
}

func (r *rig) nakFrom(server netip.Addr) evMessage {
	e := r.nak()
	e.server = server
	return e
}

func TestLeaseCountsFromTheRequest(t *testing.T) {
	r := reach(t, Requesting)
	sent := r.now
	r.tick() // retransmitted
	r.now += 2 * time.Second
	r.do(r.ack())
	if r.m.lease.Acquired != sent {
		t.Errorf("acquired %v, sent %v", r.m.lease.Acquired, sent)
	}
	// A RENEW is known by its xid, so the one that was answered counts.
	r.tickUntil(Renewing)
	xid := r.m.xid
	for r.tick(); r.last.send == nil; r.tick() { // the window closes first
	}
	if r.m.xid == xid {
		t.Fatal("a RENEW repeats the xid")
	}
	sent = r.now
	r.now += time.Second
	if r.do(r.ack()); r.m.state != Bound || r.m.lease.Acquired != sent {
		t.Errorf("acquired %v, sent %v", r.m.lease.Acquired, sent)
	}
}

func TestRenewRebindExpire(t *testing.T) {
	r := reach(t, Bound)
	l := r.m.lease
	if l.T1 >= l.T2 || l.T2 >= l.TTL || l.T1 > l.TTL/2 || l.T1 < l.TTL*49/100 {
		t.Fatalf("T1 %v T2 %v", l.T1, l.T2)
	}
	r.sent = nil
	var attempts []string
	for r.m.lease != nil {
		r.tick()
		if s := r.last.send; s != nil && r.m.lease != nil {
			attempts = append(attempts, fmt.Sprint(s.kind, " at ", (r.now-l.Acquired).Round(time.Minute)))
			if s.addr != l.Addr() || s.server != serverA {
				t.Errorf("sent %+v", s)
			}
		}
		if r.m.state == Rebinding && r.m.diag != NoAnswer {
			t.Errorf("diagnosis %v", r.m.diag)
		}
	}
	if r.now != l.Acquired+l.TTL || r.m.state != Selecting || !r.last.forget {
		t.Errorf("%v at %v", r.m.state, r.now-l.Acquired)
	}
	// Half of what remains, at least a minute (4.4.5).
	want := []string{
		"REQUEST (renewing) at 30m0s", "REQUEST (renewing) at 41m0s", "REQUEST (renewing) at 47m0s", "REQUEST (renewing) at 49m0s",
		"REQUEST (renewing) at 51m0s", "REQUEST (renewing) at 52m0s",
		"REQUEST (rebinding) at 52m0s", "REQUEST (rebinding) at 56m0s", "REQUEST (rebinding) at 58m0s", "REQUEST (rebinding) at 59m0s",
	}
	if !slices.Equal(attempts, want) {
		t.Errorf("attempts:\n%s", strings.Join(attempts, "\n"))
	}
	if r.sent[len(r.sent)-1].kind != discover || r.sent[len(r.sent)-1].addr != l.Addr() {
		t.Error("the DISCOVER after expiry does not ask for the old address")
	}
}

func TestShortLeases(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Second, time.Minute, 10 * time.Minute} {
		r := reach(t, Requesting)
		short := func() evMessage {
			e := r.ack()
			e.lease.TTL = ttl
			return e
		}
		r.do(short())
		start, sent := r.now, len(r.sent)
		for range 20 { // renewed each time, the address never leaves
			r.tickUntil(Renewing)
			r.do(short())
			if r.m.state != Bound || r.m.lease == nil {
				t.Fatalf("%v: %v", ttl, r.m.state)
			}
		}
		if n := len(r.sent) - sent; n != 20 || r.now-start < 20*ttl*48/100 {
			t.Errorf("%v: %d packets in %v", ttl, n, r.now-start)
		}
		// Silence: at least one attempt of each kind, then the end.
		r.sent = nil
		for r.m.lease != nil {
			r.tick()
		}
		if k := r.kinds(); !slices.Contains(k, renew) || !slices.Contains(k, rebind) || len(k) > 20 {
			t.Errorf("%v: sent %v", ttl, k)
		}
	}
	// An ACK that comes after the end of its lease is none.
	r := reach(t, Requesting)
	e := r.ack()
	e.lease.TTL = time.Second
	r.now += 1500 * time.Millisecond
	if r.do(e); r.m.state != Requesting {
		t.Errorf("%v", r.m.state)
	}
}

func TestInfiniteLease(t *testing.T) {
	r := reach(t, Requesting)
	e := r.ack()
	e.lease.TTL, e.lease.T1, e.lease.T2 = Infinite, Infinite, Infinite
	if r.do(e); r.last.wake != never || r.m.state != Bound {
		t.Fatalf("%v wakes at %v", r.m.state, r.last.wake)
	}
	r.now += 1000 * time.Hour
	if r.do(evTick{}); r.m.lease == nil || r.last.send != nil {
		t.Error("it did not last")
	}
	r.do(evNudge{})
	r.tickUntil(Bound)
	if r.last.wake != never || r.m.lease == nil {
		t.Errorf("wakes at %v", r.last.wake)
	}
}

func TestRememberedLease(t *testing.T) {
	r := reach(t, Rebooting)
	first := r.last
	if !first.change || first.update.Lease == nil || first.update.Diagnosis != OK {
		t.Fatalf("first step %+v", first)
	}
	if s := r.sent[0]; s.kind != reboot || s.addr != ip("192.0.2.100") || s.server.IsValid() {
		t.Errorf("sent %+v", s)
	}
	l := r.m.lease
	r.tickUntil(Bound)
	if r.m.lease != l || r.m.diag != NoAnswer || r.now > 1015*time.Second || len(r.sent) != rebootTries {
		t.Errorf("%v, diagnosis %v, after %d packets at %v", r.m.lease, r.m.diag, len(r.sent), r.now)
	}
	// It is ours, but the network may want to hear of it: soon, and then ever more
	// rarely until the usual times.
	var waits []time.Duration
	before := r.now
	for r.tickUntil(Renewing); len(waits) < 5; r.tick() {
		if r.last.send != nil {
			waits = append(waits, (r.now - before).Round(time.Minute))
			before = r.now
		}
	}
	if want := []time.Duration{1, 2, 4, 8, 16}; !slices.EqualFunc(waits, want, func(a, b time.Duration) bool { return a == b*time.Minute }) {
		t.Errorf("waits %v", waits)
	}
	for r.last.send == nil {
		r.tick()
	}
	if r.do(r.ack()); r.m.state != Bound || r.m.diag != OK {
		t.Errorf("%v, diagnosis %v", r.m.state, r.m.diag)
	}

	r = reach(t, Rebooting)
	if r.do(r.nak()); r.m.lease != nil || !r.last.forget || r.last.send == nil {
		t.Errorf("a NAK did not roll back: %+v", r.last)
	}
}

func TestLeaseOfAnotherBoot(t *testing.T) {
	probe := rig{now: 1000 * time.Second}
	r := newRig(t, Config{}, evStart{lease: probe.held(time.Minute), foreign: true, carrier: true})
	if r.m.lease != nil || r.m.state != Rebooting {
		t.Fatalf("%v with %v", r.m.state, r.m.lease)
	}
	r.tickUntil(Selecting)
	if got := r.kinds(); !slices.Equal(got, []requestKind{reboot, reboot, discover}) || r.now > 1015*time.Second {
		t.Errorf("sent %v until %v", got, r.now)
	}
	// It is asked for once, not after each flap.
	r.do(evCarrier{false})
	if r.now += 5 * time.Second; r.do(evCarrier{true}).send.kind != discover {
		t.Errorf("sent %v", r.kinds())
	}
}

func TestLink(t *testing.T) {
	r := reach(t, Bound)
	l := r.m.lease
	if r.do(evCarrier{false}); r.m.diag != NoCarrier || r.m.lease != l {
		t.Fatalf("diagnosis %v", r.m.diag)
	}
	r.now += time.Minute
	r.sent = nil
	r.do(evCarrier{true})
	r.do(evCarrier{true})
	if got := r.kinds(); !slices.Equal(got, []requestKind{reboot}) || r.m.diag != OK || r.m.lease != l {
		t.Fatalf("sent %v, diagnosis %v", got, r.m.diag)
	}
	if r.do(r.ack()); r.m.state != Bound {
		t.Fatal(r.m.state)
	}
	// A flapping link.
	r.now += time.Minute
	r.sent = nil
	for range 100 {
		r.do(evCarrier{false})
		r.now += 10 * time.Millisecond
		r.do(evCarrier{true})
		r.now += 10 * time.Millisecond
	}
	if len(r.sent) > 3 {
		t.Errorf("%d packets in 2 s of flaps", len(r.sent))
	}
	if wait := r.last.wake - r.now; wait > flapSpacing {
		t.Errorf("after 2 s of flaps the address is confirmed in %v", wait)
	}
	r.do(evCarrier{false})
	// The lease ends while the cable is out.
	for r.m.lease != nil {
		r.tick()
	}
	if r.last.send != nil || r.m.state != Init || r.last.wake != never || !r.last.forget {
		t.Errorf("%v, %+v", r.m.state, r.last)
	}
	r.now += time.Minute
	if r.do(evCarrier{true}); r.m.state != Selecting {
		t.Error(r.m.state)
	}
	// No carrier from the start.
	r = newRig(t, Config{}, evStart{})
	if r.m.diag != NoCarrier || r.last.wake != never || len(r.sent) != 0 || !r.last.change {
		t.Errorf("%+v", r.last)
	}
}

func TestLocalTrouble(t *testing.T) {
	r := reach(t, Selecting)
	for range 10 {
		before := r.now
		if r.do(evUnsent{down: true}); r.m.diag != NoCarrier {
			t.Fatalf("diagnosis %v", r.m.diag)
		}
		r.tick()
		if d := r.now - before; d < time.Second || d > lastBackoff {
			t.Errorf("wait %v", d)
		}
	}
	r.do(evUnsent{down: true})
	r.sent = nil
	if r.do(evCarrier{true}); len(r.sent) != 1 {
		t.Error("the link is up, and the packet that did not leave is not repeated")
	}
	r.tick() // now it has left, and nobody answers
	if r.m.diag != NoAnswer {
		t.Errorf("diagnosis %v", r.m.diag)
	}
	// A REQUEST that cannot leave is no reason to blame the server.
	r = reach(t, Requesting)
	for r.m.state == Requesting {
		r.do(evUnsent{})
		r.tick()
	}
	if r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
}

func TestRapidCommit(t *testing.T) {
	ack := func(r *rig, rapid bool) {
		e := r.ack()
		e.rapid = rapid
		r.do(e)
	}
	r := newRig(t, Config{RapidCommit: true}, evStart{carrier: true})
	if ack(r, false); r.m.state != Selecting {
		t.Error("an ACK to a DISCOVER without option 80 counts")
	}
	r.tick()
	sent := r.now
	r.now += 10 * time.Millisecond
	if ack(r, true); r.m.state != Bound || r.m.lease.Acquired != sent {
		t.Errorf("%v, %v", r.m.state, r.m.lease)
	}
	r = newRig(t, Config{}, evStart{carrier: true})
	if ack(r, true); r.m.state != Selecting {
		t.Error("rapid commit without being asked for")
	}
}

func TestAckWithoutServer(t *testing.T) {
	for _, s := range []State{Requesting, Rebooting, Renewing, Rebinding} {
		r := reach(t, s)
		e := r.ack()
		e.server, e.lease.Server = netip.Addr{}, netip.Addr{}
		if r.do(e); r.m.state != Bound || r.m.lease.Server != serverA {
			t.Errorf("%v: %v with %v", s, r.m.state, r.m.lease)
		}
	}
}

func TestNamesOfStatesAndDiagnoses(t *testing.T) {
	for s := range State(len(states)) {
		if b, _ := s.MarshalText(); string(b) != states[s] || strings.Contains(string(b), "(") {
			t.Errorf("%d is %s", s, b)
		}
	}
	for d := range Diagnosis(len(diagnoses)) {
		if b, _ := d.MarshalText(); string(b) == "" || d.Text() == "" || d.Text() == d.String() {
			t.Errorf("%d is %s", d, b)
		}
	}
	if State(99).String() != "state(99)" || Diagnosis(99).Text() != "diagnosis(99)" {
		t.Error("unknown values")
	}
}
