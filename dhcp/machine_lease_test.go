package dhcp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

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
	r.now += time.Second
	if r.do(e); r.m.state != Requesting {
		t.Errorf("%v", r.m.state)
	}
}

func TestInfiniteLease(t *testing.T) {
	r := reach(t, Requesting)
	e := r.ack()
	e.lease.TTL, e.lease.T1, e.lease.T2 = Infinite, Infinite, Infinite
	if r.do(e); r.m.state != Bound {
		t.Fatal(r.m.state)
	}
	// Without an answer it holds for ever, and is in question each day.
	for day := range 3 {
		before := r.now
		r.sent = nil
		if wait := r.last.wake - r.now; wait > confirmEvery || wait < confirmEvery*97/100 {
			t.Fatalf("day %d: it is in question in %v", day, wait)
		}
		r.tick()
		if s := r.last.send; s == nil || s.kind != reboot || s.server.IsValid() || r.m.lease == nil {
			t.Fatalf("day %d: sent %+v", day, s)
		}
		for r.last.wake-r.now < time.Hour {
			if r.tick(); r.m.lease == nil {
				t.Fatalf("day %d: the lease is gone in %v", day, r.m.state)
			}
		}
		if got := r.kinds(); r.m.state != Bound || !slices.Equal(got, []requestKind{reboot, reboot, renew}) || r.m.diag != NoAnswer {
			t.Errorf("day %d: %v after %v, sent %v, diagnosis %v", day, r.m.state, r.now-before, got, r.m.diag)
		}
	}
	// The server that should be there says what it thinks of it.
	r.tick()
	nak := r.nakFrom(serverB)
	if r.do(nak); r.m.state != Rebooting || r.m.lease == nil {
		t.Fatalf("a stranger's NAK counts at once: %v", r.m.state)
	}
	if r.tick(); r.m.lease != nil || r.m.state != Selecting || r.last.send == nil || r.last.send.addr.IsValid() {
		t.Errorf("after the NAK: %v, %+v", r.m.state, r.last)
	}
}

// A lease is in question at least daily, however long it is, and by a REQUEST that
// any server may answer. With a T1 before that it is renewed as usual.
func TestConfirmEachDay(t *testing.T) {
	for ttl, want := range map[time.Duration]requestKind{
		47 * time.Hour:        renew,
		10 * 24 * time.Hour:   reboot,
		3650 * 24 * time.Hour: reboot,
	} {
		r := reach(t, Requesting)
		ack := func() evMessage {
			e := r.ack()
			e.lease.TTL = ttl
			return e
		}
		r.do(ack())
		for range 3 {
			before, lease := r.now, r.m.lease
			r.tick()
			if r.now-before > 24*time.Hour || r.last.send == nil || r.last.send.kind != want || r.m.lease != lease {
				t.Errorf("lease of %v: after %v sent %+v", ttl, r.now-before, r.last.send)
			}
			if r.do(ack()); r.m.state != Bound || r.m.lease == lease {
				t.Errorf("lease of %v: %v", ttl, r.m.state)
			}
		}
	}
}

// Reason to doubt the lease.
func TestConfirm(t *testing.T) {
	r := reach(t, Bound)
	l := r.m.lease
	r.now += 10 * time.Minute
	if r.do(evConfirm{}); r.m.state != Rebooting || r.last.send.kind != reboot || r.m.lease != l {
		t.Fatalf("%v, %+v", r.m.state, r.last)
	}
	r.do(evConfirm{}) // is under way
	if r.do(r.ack()); r.m.state != Bound || r.m.diag != OK || r.last.wake-r.now < 29*time.Minute {
		t.Fatalf("%v, wakes in %v", r.m.state, r.last.wake-r.now)
	}
	// Once a minute is enough.
	answered := r.now
	r.now += time.Second
	if r.do(evConfirm{}); r.last.send != nil {
		t.Error("it asks again at once")
	}
	if r.tick(); r.last.send == nil || r.now-answered != confirmSpacing {
		t.Errorf("after %v: %+v", r.now-answered, r.last.send)
	}
	// No answer: the lease is used until its end, and the next doubt waits.
	for r.m.state != Bound {
		r.tick()
	}
	if given := r.now; r.m.lease == nil || r.m.diag != NoAnswer {
		t.Errorf("%v, diagnosis %v", r.m.lease, r.m.diag)
	} else if r.do(evConfirm{}); r.last.send != nil || r.last.wake < given+confirmSpacing {
		t.Errorf("after no answer: %+v", r.last)
	}
	for _, s := range []State{Init, Selecting, Requesting, InitReboot, Rebooting, Renewing, Rebinding} {
		r := reach(t, s)
		wake := r.last.wake
		if r.do(evConfirm{}); r.m.state != s || r.last.send != nil || r.last.wake != wake {
			t.Errorf("%v: %+v", s, r.last)
		}
	}
}

// What another server than that of the lease says about the address counts only if
// that of the lease is silent for a moment; and an address that was not asked for
// is none, whoever confirms it.
func TestAnswersOfOtherServers(t *testing.T) {
	ackOf := func(r *rig, server netip.Addr, addr string) evMessage {
		return r.msg(dhcpv4.MessageTypeAck, testLease(server, addr))
	}
	for _, s := range []State{Rebooting, Renewing, Rebinding} {
		t.Run(s.String(), func(t *testing.T) {
			for name, first := range map[string]func(*rig) evMessage{
				"NAK": func(r *rig) evMessage { return r.nakFrom(serverB) },
				"ACK": func(r *rig) evMessage { return ackOf(r, serverB, "192.0.2.100") },
			} {
				r := reach(t, s)
				lease := r.m.lease
				if r.do(first(r)); r.m.state != s || r.m.lease != lease || r.last.wake != r.now+collectWindow {
					t.Fatalf("%s: %v with %v, wakes in %v", name, r.m.state, r.m.lease, r.last.wake-r.now)
				}
				r.do(first(r)) // repeating it changes nothing
				if r.do(r.ack()); r.m.state != Bound || r.m.lease.Server != serverA || r.m.diag != OK {
					t.Errorf("%s, then the ACK of the server: %v with %v", name, r.m.state, r.m.lease)
				}
				if r.last.wake-r.now < 20*time.Minute {
					t.Errorf("%s: wakes in %v", name, r.last.wake-r.now)
				}
				// The same without the server of the lease.
				r = reach(t, s)
				r.do(first(r))
				at := r.now
				r.tick()
				switch {
				case r.now != at+collectWindow:
					t.Errorf("%s: concluded after %v", name, r.now-at)
				case name == "NAK" && (r.m.lease != nil || r.m.state != Selecting || r.m.diag != Refused):
					t.Errorf("NAK alone: %v with %v", r.m.state, r.m.lease)
				case name == "ACK" && (r.m.state != Bound || r.m.lease.Server != serverB):
					t.Errorf("ACK alone: %v with %v", r.m.state, r.m.lease)
				}
			}
			// Another address: from a stranger it is as if nothing had come, from the
			// server of the lease it is a refusal.
			r := reach(t, s)
			lease := r.m.lease
			if r.do(ackOf(r, serverB, "192.0.2.7")); r.m.state != s || r.m.lease != lease || r.m.held != nil {
				t.Errorf("another address of a stranger: %v with %v", r.m.state, r.m.lease)
			}
			if r.do(ackOf(r, serverA, "192.0.2.7")); r.m.lease != nil || r.m.state != Selecting || r.m.requested.IsValid() || !strings.Contains(r.m.detail, "another address") {
				t.Errorf("another address of the server: %v with %v, %q", r.m.state, r.m.lease, r.m.detail)
			}
		})
	}
	// Nothing but such a confirmation: it is in the update.
	r := reach(t, Rebooting)
	r.do(ackOf(r, serverB, "192.0.2.7"))
	if r.tickUntil(Bound); r.m.diag != Unusable || r.m.detail != errOtherAddress.Error() {
		t.Errorf("diagnosis %v %q", r.m.diag, r.m.detail)
	}
	// What waits does not outlive its exchange.
	r = reach(t, Renewing)
	r.do(r.nakFrom(serverB))
	r.do(evCarrier{false})
	r.now += time.Second
	if r.do(evCarrier{true}); r.m.state != Rebooting || r.m.lease == nil {
		t.Errorf("%v with %v", r.m.state, r.m.lease)
	}
	// A lease of seconds does not end while an answer waits.
	r = reach(t, Requesting)
	e := r.ack()
	e.lease.TTL = 2 * time.Second
	r.do(e)
	r.tickUntil(Rebinding)
	other := ackOf(r, serverB, "192.0.2.100")
	other.lease.TTL = 2 * time.Second
	left := r.m.lease.RemainingAt(r.now)
	if r.do(other); r.last.wake != r.now+left/4 {
		t.Errorf("%v before the end an answer waits %v", left, r.last.wake-r.now)
	}
	if r.tick(); r.m.state != Bound || r.m.lease.Server != serverB {
		t.Errorf("%v with %v", r.m.state, r.m.lease)
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
	// It is ours, but the network may want to be asked: soon, and then ever more
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
	// After a refusal, and with another server's offer at hand.
	probe := rig{now: 1000 * time.Second}
	r = newRig(t, Config{RapidCommit: true}, evStart{lease: probe.held(2 * time.Hour), carrier: true})
	r.m.silenced = true
	r.do(r.msg(dhcpv4.MessageTypeOffer, testLease(serverB, "192.0.2.7")))
	r.m.silenced = true
	if ack(r, true); r.m.state != Bound || r.m.diag != OtherServer || r.m.silenced || r.m.collect != never {
		t.Errorf("%v, diagnosis %v", r.m.state, r.m.diag)
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
