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
			t.Errorf("%v: an answer to nobody counts", s)
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
		if r.m.state != Rebooting || !r.last.listen || r.last.wake < r.now+3*time.Second || r.m.hear != never {
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
			if end(r); waiting(r) {
				t.Errorf("%v, %s: %+v waits until %v", s, name, r.m.held, r.m.collect)
			}
			for range 5 {
				if r.last.wake != never {
					r.tick()
				}
			}
		}
	}
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
	r.do(evCarrier{false})
	r.now += time.Minute
	r.do(evCarrier{true})
	if r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
	if r.do(evUnsent{}); r.last.wake != r.now+localRetry {
		t.Errorf("after the link came back: wait %v", r.last.wake-r.now)
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
