package dhcp

import (
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The very end of a lease: it is held until then, and not at that moment.
func TestEndOfARememberedLease(t *testing.T) {
	for left, holds := range map[time.Duration]bool{-1: false, 0: false, 1: true} {
		r := &rig{t: t, m: newMachine(&Config{}, testDice()), now: 1000 * time.Second}
		l := r.held(time.Hour)
		l.Acquired += left
		if r.do(evStart{lease: l, carrier: true}); (r.m.lease != nil) != holds {
			t.Errorf("%v before its end: %v", left, r.m.lease)
		}
		if !holds && r.sent[0].addr != l.Addr() {
			t.Error("it is not asked for again")
		}
	}
	for _, late := range []time.Duration{-1, 0} {
		r := reach(t, Bound)
		r.now = r.m.lease.Acquired + r.m.lease.TTL + late
		if r.do(evTick{}); (r.m.lease != nil) != (late < 0) {
			t.Errorf("%v after the end of the lease: %v", late, r.m.lease)
		}
	}
}

// secs counts from the begin of an acquisition or renewal (RFC 2131 2).
func TestSeconds(t *testing.T) {
	last := func(r *rig) request { return r.sent[len(r.sent)-1] }
	for _, s := range []State{Bound, Renewing, Rebinding} { // the machine slept until the lease ended
		r := reach(t, s)
		r.now = r.m.lease.Acquired + r.m.lease.TTL + time.Hour
		if r.do(evTick{}); last(r).kind != discover || last(r).secs != 0 {
			t.Errorf("%v: after the end of the lease %+v", s, last(r))
		}
	}
	r := reach(t, Renewing)
	began := r.now
	if last(r).secs != 0 {
		t.Errorf("RENEW %+v", last(r))
	}
	for r.tick(); r.last.send == nil; r.tick() {
	}
	if last(r).secs != r.now-began {
		t.Errorf("second RENEW after %v: %+v", r.now-began, last(r))
	}
	r.tickUntil(Rebinding)
	if last(r).kind != rebind || last(r).secs != r.now-began {
		t.Errorf("REBIND after %v: %+v", r.now-began, last(r))
	}
	if r.do(r.nak()); last(r).kind != discover || last(r).secs != 0 {
		t.Errorf("DISCOVER after a refusal: %+v", last(r))
	}
	// A machine that sleeps beyond T2 begins with a REBIND.
	r = reach(t, Bound)
	r.now = r.m.lease.Acquired + r.m.lease.T2
	if r.do(evTick{}); last(r).kind != rebind || last(r).secs != 0 || r.m.diag != OK {
		t.Errorf("REBIND after a sleep: %+v, diagnosis %v", last(r), r.m.diag)
	}
	r = reach(t, Rebooting)
	began = r.now
	if r.tick(); last(r).kind != reboot || last(r).secs != r.now-began || last(r).secs == 0 {
		t.Errorf("second INIT-REBOOT after %v: %+v", r.now-began, last(r))
	}
	r.do(r.nak())
	if last(r).secs != r.now-began { // still the same attempt to get an address
		t.Errorf("DISCOVER after INIT-REBOOT: %+v", last(r))
	}
	// The REQUEST repeats the secs of its DISCOVER, however often it is sent.
	r = reach(t, Selecting)
	r.tick()
	secs := last(r).secs
	r.do(r.offer())
	r.tick()
	if secs == 0 || last(r).kind != selectOffer || last(r).secs != secs {
		t.Errorf("REQUEST %+v, the DISCOVER had %v", last(r), secs)
	}
}

// A renewal that is not answered: the sockets are open for a while only, and open
// again with the next attempt, which has an xid of its own.
func TestSocketsOfARenewal(t *testing.T) {
	for _, s := range []State{Renewing, Rebinding} {
		r := reach(t, s)
		sent, xid := r.now, r.m.xid
		if !r.last.listen || r.last.wake != sent+answerWindow {
			t.Fatalf("%v: listens %v, wakes in %v", s, r.last.listen, r.last.wake-sent)
		}
		old := r.ack()
		r.tick()
		if r.now != sent+answerWindow || r.last.listen || r.last.send != nil || r.m.state != s {
			t.Errorf("%v: after %v listens %v", s, r.now-sent, r.last.listen)
		}
		if r.do(old); r.m.state != s {
			t.Errorf("%v: an answer that was not awaited counts", s)
		}
		for r.tick(); r.last.send == nil; r.tick() {
		}
		if r.m.state == s && (!r.last.listen || r.m.xid == xid || r.last.wake > r.now+answerWindow) {
			t.Errorf("%v: the second attempt listens %v, wakes in %v", s, r.last.listen, r.last.wake-r.now)
		}
		// The end of the window is of no matter to another exchange.
		r = reach(t, s)
		r.do(evCarrier{false})
		r.now += answerWindow / 2
		r.do(evCarrier{true})
		if r.m.state != Rebooting || !r.last.listen || r.last.wake < r.now+3*time.Second || r.m.answersUntil != never {
			t.Errorf("%v, then the link: %v wakes in %v", s, r.m.state, r.last.wake-r.now)
		}
	}
}

// What waited for its window is over with the exchange.
func TestNothingWaitsForEver(t *testing.T) {
	waiting := func(r *rig) bool { return r.m.held != nil || r.m.collect != never }
	for _, s := range []State{Rebooting, Renewing, Rebinding} {
		for name, end := range map[string]func(*rig){
			"link":   func(r *rig) { r.do(evCarrier{false}) },
			"ack":    func(r *rig) { r.do(r.ack()) },
			"nak":    func(r *rig) { r.do(r.nak()) },
			"review": func(r *rig) { r.do(evReview{refusal: errNoServer}) },
			"expiry": func(r *rig) { r.now = r.m.lease.Acquired + r.m.lease.TTL; r.do(evTick{}) },
		} {
			r := reach(t, s)
			if r.do(r.nakFrom(serverB)); !waiting(r) {
				t.Fatalf("%v: the answer of another server does not wait", s)
			}
			if end(r); waiting(r) || r.m.answersUntil != never {
				t.Errorf("%v, %s: %+v waits until %v, the window is open until %v", s, name, r.m.held, r.m.collect, r.m.answersUntil)
			}
			for range 5 {
				if r.last.wake != never {
					r.tick()
				}
			}
		}
	}
	// The next attempt has another xid, so what waits is of no use to it.
	r := reach(t, Renewing)
	r.now = r.m.lease.Acquired + r.m.lease.T2 - collectWindow/3
	r.do(evTick{})
	r.do(r.nakFrom(serverB))
	if r.tick(); r.m.state != Rebinding || waiting(r) {
		t.Errorf("%v: %+v waits until %v", r.m.state, r.m.held, r.m.collect)
	}
	for range 3 {
		r.tick()
	}
	// Nor is an ACK that has become worthless meanwhile.
	r = reach(t, Rebooting)
	short := r.msg(dhcpv4.MessageTypeAck, testLease(serverB, "192.0.2.100"))
	short.lease.TTL = collectWindow / 2
	r.do(short)
	if r.tick(); r.m.state != Rebooting || waiting(r) {
		t.Errorf("%v: %+v waits until %v", r.m.state, r.m.held, r.m.collect)
	}
	r.tick()
	// Nor does an offer.
	probe := rig{now: 1000 * time.Second}
	for name, end := range map[string]func(*rig){
		"link":  func(r *rig) { r.do(evCarrier{false}) },
		"taken": func(r *rig) { r.tick() },
	} {
		r := newRig(t, Config{}, evStart{lease: probe.held(2 * time.Hour), carrier: true})
		if r.do(r.msg(dhcpv4.MessageTypeOffer, testLease(serverB, "192.0.2.7"))); r.m.collect != r.now+collectWindow {
			t.Fatal("the offer does not wait")
		}
		if end(r); r.m.collect != never || (r.m.offer != nil) != (name == "taken") {
			t.Errorf("%s: %v until %v", name, r.m.offer, r.m.collect)
		}
	}
}

// The link comes and goes while packets cannot leave.
func TestLinkAndLocalTrouble(t *testing.T) {
	r := reach(t, Selecting)
	r.do(evUnsent{down: true}) // once
	r.sent = nil
	if r.do(evCarrier{true}); len(r.sent) != 1 || r.m.diag != OK {
		t.Errorf("after one failure: %d packets, diagnosis %v", len(r.sent), r.m.diag)
	}
	// Each failure waits twice as long; a link that comes back ends that.
	r = reach(t, Renewing)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64, 64} {
		r.do(evUnsent{})
		if wait := r.m.next - r.now; wait != want*time.Second {
			t.Errorf("wait %v, want %v s", wait, int(want))
		}
		r.now = r.m.next
		if r.do(evTick{}); r.last.send == nil {
			t.Fatal("nothing is sent again")
		}
	}
	r.do(evUnsent{})
	r.do(evCarrier{false})
	r.now += time.Minute
	r.do(evCarrier{true})
	if r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
	if r.do(evUnsent{}); r.last.wake != r.now+localRetry {
		t.Errorf("after the link came back: wait %v", r.last.wake-r.now)
	}
	// Where nothing was to be sent, nothing is sent sooner.
	r = reach(t, Init)
	for range 3 {
		r.tickUntil(Selecting)
		r.do(r.offer())
		r.tickUntil(Requesting)
		r.do(r.nak())
	}
	wake := r.last.wake
	if r.do(evUnsent{}); r.last.wake != wake || r.m.failures != 0 {
		t.Errorf("a failure while waiting: wakes in %v instead of %v", r.last.wake-r.now, wake-r.now)
	}
	// A packet that leaves ends it, too, and the finding with it.
	r = reach(t, Selecting)
	r.do(evUnsent{down: true})
	r.tick()
	if r.do(evTick{}); r.m.diag != OK || r.m.failures != 0 {
		t.Errorf("after a packet has left: diagnosis %v, %d failures", r.m.diag, r.m.failures)
	}
	// A DISCOVER that did not leave is not one that was not answered.
	r = reach(t, Selecting)
	for range 5 {
		r.do(evUnsent{})
		r.tick()
	}
	before := r.now
	if r.tick(); r.now-before > 5*time.Second {
		t.Errorf("the first DISCOVER that left waits %v", r.now-before)
	}
	// Twice in one moment.
	r = reach(t, Bound)
	r.now += time.Minute
	for range 2 {
		r.do(evCarrier{false})
		r.sent = nil
		r.do(evCarrier{true})
	}
	if len(r.sent) != 0 || r.last.wake != r.now+flapSpacing {
		t.Errorf("two flaps at once: %d packets, wakes in %v", len(r.sent), r.last.wake-r.now)
	}
}

// After a review that took the address away, nobody is preferred.
func TestAcquisitionAfterAReview(t *testing.T) {
	r := reach(t, Bound)
	r.now += time.Minute
	r.do(evReview{refusal: errNoServer})
	if r.do(r.msg(dhcpv4.MessageTypeOffer, testLease(serverB, "192.0.2.7"))); r.m.state != Requesting {
		t.Errorf("an offer waits: %v", r.m.state)
	}
}

// Each acquisition begins anew: the waits, and what was seen of other servers.
func TestAcquisitionsAreSeparate(t *testing.T) {
	r := reach(t, Requesting)
	r.do(r.msg(dhcpv4.MessageTypeOffer, testLease(serverB, "192.0.2.7")))
	if r.do(r.ack()); r.m.diag != OtherServer {
		t.Fatalf("diagnosis %v", r.m.diag)
	}
	for _, s := range []State{Renewing, Rebooting} {
		if s == Rebooting {
			r.do(evCarrier{false})
			r.now += time.Minute
			r.do(evCarrier{true})
			r.do(r.ack())
		} else {
			r.tickUntil(Renewing)
			r.do(r.nak())
			r.do(r.offer())
			r.do(r.ack())
		}
		if r.m.state != Bound || r.m.diag != OK {
			t.Errorf("after %v with one server: %v, diagnosis %v", s, r.m.state, r.m.diag)
		}
		r.m.other = true
	}
	// Silence to REQUESTs, then the first DISCOVER again waits 4 s.
	r = reach(t, Requesting)
	r.tickUntil(Selecting)
	sent := r.now
	if r.tick(); r.now-sent > 5*time.Second {
		t.Errorf("the first DISCOVER waits %v", r.now-sent)
	}
	r = reach(t, Selecting)
	for range 6 {
		r.tick()
	}
	r.do(r.offer())
	sent = r.now
	if r.tick(); r.now-sent > 5*time.Second || r.last.send.kind != selectOffer {
		t.Errorf("the first REQUEST waits %v", r.now-sent)
	}
	r = reach(t, Rebooting)
	r.tick()
	r.do(evCarrier{false})
	r.do(evCarrier{true})
	for r.m.state != Rebooting || r.last.send == nil {
		r.tick()
	}
	sent = r.now
	if r.tick(); r.now-sent > 5*time.Second || r.last.send == nil || r.last.send.kind != reboot {
		t.Errorf("the first INIT-REBOOT after a flap waits %v, then %+v", r.now-sent, r.last.send)
	}
}

// Each exchange has an xid of its own, its retransmissions share it.
func TestTransactions(t *testing.T) {
	r := reach(t, Selecting)
	xids := map[uint32]requestKind{r.m.xid: discover}
	fresh := func(what requestKind) {
		t.Helper()
		last := r.sent[len(r.sent)-1]
		if other, used := xids[last.xid]; used || last.kind != what {
			t.Errorf("%v has the xid of a %v, want a fresh one of a %v", last.kind, other, what)
		}
		xids[last.xid] = what
	}
	r.tick()
	if r.m.xid != r.sent[0].xid {
		t.Error("a DISCOVER that is sent again has another xid")
	}
	r.do(r.offer())
	r.do(r.ack())
	r.tickUntil(Renewing)
	fresh(renew)
	r.do(r.nak())
	fresh(discover)
	r.do(r.offer())
	r.do(r.ack())
	for range 2 {
		r.do(evCarrier{false})
		r.now += time.Minute
		r.do(evCarrier{true})
		fresh(reboot)
		r.do(r.ack())
	}
	r.tickUntil(Rebinding)
	fresh(rebind)

	r, xids = newRig(t, Config{RapidCommit: true}, evStart{carrier: true}), map[uint32]requestKind{}
	fresh(discover)
	for range 3 { // each may be answered by a lease that counts from it
		r.tick()
		fresh(discover)
	}
}

// The lease counts from its REQUEST, not from the DISCOVER.
func TestLeaseCountsFromTheFirstRequest(t *testing.T) {
	r := reach(t, Selecting)
	r.now += 700 * time.Millisecond
	r.do(r.offer())
	sent := r.now
	r.now += time.Second
	if r.do(r.ack()); r.m.lease.Acquired != sent {
		t.Errorf("acquired %v, the REQUEST was sent at %v", r.m.lease.Acquired, sent)
	}
}

// An infinite lease whose confirmation could not leave, and whose RENEW is then
// not answered.
func TestInfiniteLeaseInDoubt(t *testing.T) {
	r := reach(t, Requesting)
	e := r.ack()
	e.lease.TTL, e.lease.T1, e.lease.T2 = Infinite, Infinite, Infinite
	r.do(e)
	r.tick()
	for r.m.state == Rebooting {
		r.do(evUnsent{})
		r.tick()
	}
	if r.m.diag != OK {
		t.Errorf("what did not leave was not answered: %v", r.m.diag)
	}
	r.tickUntil(Renewing)
	asked := r.now
	r.tickUntil(Bound)
	if r.now != asked+answerWindow {
		t.Errorf("it waits %v for an answer", r.now-asked)
	}
	if r.m.diag != NoAnswer || r.m.lease == nil {
		t.Errorf("diagnosis %v, lease %v", r.m.diag, r.m.lease)
	}
	ended := r.now
	r.now += time.Second
	if r.do(evConfirm{}); r.last.send != nil || r.last.wake != ended+confirmSpacing {
		t.Errorf("asks again in %v: %+v", r.last.wake-ended, r.last.send)
	}
}

// The answer to a packet that left comes although the next one did not leave.
func TestAckAfterLocalTrouble(t *testing.T) {
	r := reach(t, Rebooting)
	r.tick()
	r.do(evUnsent{})
	r.do(r.ack())
	wake := r.last.wake
	if r.do(evCarrier{true}); r.m.state != Bound || r.last.send != nil || r.last.wake != wake {
		t.Errorf("%v wakes in %v, sends %+v", r.m.state, r.last.wake-r.now, r.last.send)
	}
}
