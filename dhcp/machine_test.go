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
		{"confirm", func(r *rig) any { return evConfirm{} }},
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
confirm       init           selecting               requesting              init-reboot+        rebooting+              bound+              renewing+              rebinding+
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
				before := r.last
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
				// What is ignored changes no deadline and makes no update.
				idle := e.name == "early tick" || e.name == "other xid" ||
					e.name == "unsent" && (State(s) == Init || State(s) == InitReboot || State(s) == Bound)
				if idle && (st.change || st.wake != before.wake || st.listen != before.listen || st.forget) {
					t.Errorf("%+v after %+v", st, before)
				}
			})
		}
	}
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

// Some operators' servers refuse each attempt to keep a lease and grant the
// DISCOVER that follows. A lease ends the series of refusals: the back-off must
// not grow from one lease to the next.
func TestALeaseEndsTheRefusals(t *testing.T) {
	for _, s := range []State{Rebooting, Renewing, Rebinding} {
		r := reach(t, s)
		for i := range 20 {
			if s == Rebooting && i > 0 {
				r.do(evCarrier{false})
				r.now += time.Minute
				r.do(evCarrier{true})
			}
			r.tickUntil(s)
			at := r.now
			if r.do(r.nak()); r.m.state != Selecting || r.now != at {
				t.Fatalf("%v: refusal %d: %v, DISCOVER in %v", s, i+1, r.m.state, r.last.wake-at)
			}
			r.do(r.offer())
			if r.do(r.ack()); r.m.state != Bound || r.m.naks != 0 {
				t.Fatalf("%v: after refusal %d: %v, %d refusals counted", s, i+1, r.m.state, r.m.naks)
			}
		}
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
		r.tickUntil(Selecting) // the REQUESTs are not answered
		if r.tick(); r.m.diag != NoAnswer {
			t.Errorf("%v: after an offer and no more answers: diagnosis %v", s, r.m.diag)
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
	if r.tick(); r.m.diag != Unusable || r.last.update.Detail != errNoServer.Error() {
		t.Errorf("diagnosis %v %q", r.m.diag, r.last.update.Detail)
	}
	r.do(r.offer())
	if r.do(r.ack()); r.m.diag != OK {
		t.Errorf("diagnosis %v", r.m.diag)
	}
}

// What the rest of the router forbids is reported as that, while the lease that
// is held goes on, or none is.
func TestRefusedForTheRouter(t *testing.T) {
	conflict := &refusal{Conflict, "address 192.168.10.7/24 is in 192.168.10.0/24 (network of br-lan)"}
	for _, c := range []struct {
		state State
		kind  dhcpv4.MessageType
		holds bool
	}{
		{Selecting, dhcpv4.MessageTypeOffer, false},
		{Requesting, dhcpv4.MessageTypeAck, false},
		{Rebooting, dhcpv4.MessageTypeAck, true},
		{Rebinding, dhcpv4.MessageTypeAck, true},
	} {
		r := reach(t, c.state)
		e := r.msg(c.kind, nil)
		e.refusal = conflict
		xid := r.m.xid
		if r.do(e); r.m.state != c.state {
			t.Errorf("%v: %v after the refused answer", c.state, r.m.state)
		}
		for r.m.diag != Conflict {
			if r.now > 10000*time.Second {
				t.Fatalf("%v: diagnosis %v", c.state, r.m.diag)
			}
			if e.xid = r.m.xid; e.xid != xid && r.last.listen {
				r.do(e) // the same answer to each attempt
			}
			r.tick()
		}
		if r.last.update.Detail != conflict.reason || c.holds != (r.m.lease != nil) {
			t.Errorf("%v: detail %q, lease %v", c.state, r.last.update.Detail, r.m.lease)
		}
		r.tickUntil(Selecting) // and it goes on asking
		if r.do(r.offer()); r.m.state != Requesting {
			r.tickUntil(Requesting)
		}
		if r.do(r.ack()); r.m.state != Bound || r.m.diag != OK {
			t.Errorf("%v: %v, diagnosis %v with a sound lease", c.state, r.m.state, r.m.diag)
		}
	}
}

// The router's other networks change while a lease is held.
func TestReviewOfTheLeaseInUse(t *testing.T) {
	for _, s := range []State{InitReboot, Rebooting, Bound, Renewing, Rebinding} {
		r := reach(t, s)
		r.do(evReview{refusal: &refusal{Conflict, "why"}})
		if r.m.lease != nil || !r.last.forget || !r.last.change || r.m.diag != Conflict && r.m.carrier || r.last.update.Detail != "why" {
			t.Errorf("%v: %+v", s, r.last)
		}
		if s == InitReboot {
			r.now += time.Minute
			r.do(evCarrier{true})
		}
		r.tickUntil(Selecting)
		if d := r.sent[len(r.sent)-1]; d.kind != discover || d.addr.IsValid() {
			t.Errorf("%v: sent %+v", s, d)
		}

		r = reach(t, s)
		less := *r.m.lease
		less.Routes, less.Gateway = nil, netip.Addr{}
		wake := r.last.wake
		if r.do(evReview{lease: &less}); r.last.update.Lease != &less || !r.last.change || r.m.state != s || r.last.wake != wake {
			t.Errorf("%v: %+v", s, r.last)
		}
	}
	r := reach(t, Requesting)
	if r.do(evReview{lease: testLease(serverA, "192.0.2.100")}); r.m.lease != nil {
		t.Error("a lease came from nowhere")
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
	t.Run("another server is better than none", func(t *testing.T) {
		probe := rig{now: 1000 * time.Second}
		r := newRig(t, Config{}, evStart{lease: probe.held(2 * time.Hour), carrier: true})
		offer(r, b)
		before := r.now
		if r.tick(); r.m.state != Requesting || r.m.offer.Server != serverB || r.now-before != collectWindow {
			t.Errorf("%v after %v", r.m.state, r.now-before)
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
