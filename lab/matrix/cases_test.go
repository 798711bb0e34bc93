package matrix

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/nstest"
)

// usual is the network of all cases; some are renumbered.
func usual(lease time.Duration) service {
	return service{lease: lease}.in("100.64.10.1/24", "100.64.10.100", "100.64.10.120")
}

// hasty has timers of seconds, in the way that the server offers.
func hasty(s server) service {
	v := usual(max(s.shortest, 6*time.Second))
	if s.timers {
		v.t1, v.t2 = 2*time.Second, 4*time.Second
	}
	return v
}

// slack is what a loaded computer may add to a moment.
const slack = 300 * time.Millisecond

// gapLimit is how long a renumbered router may be without an address: the 300 ms
// for which the client waits for an offer of the server that it knows, since a NAK
// may be a stranger's, and the exchange itself.
const gapLimit = 300*time.Millisecond + slack

// cases run against every server.
var cases = []struct {
	name string
	run  func(*line)
	// needs is the longest lease for which the case is worth waiting; 0: any.
	needs time.Duration
}{
	{name: "lease", run: testLease},
	{name: "renew", run: testRenew},
	{name: "rebind", run: testRebind},
	{name: "expiry", run: testExpiry, needs: 10 * time.Second},
	{name: "renumbered, seen at INIT-REBOOT", run: testRenumbered},
	{name: "renumbered, seen by the running client", run: testRenumberedUnseen},
	{name: "restart with leases", run: testRestart},
	{name: "restart without leases", run: testAmnesia},
	{name: "second router", run: testTakeover},
}

func TestServers(t *testing.T) {
	root := nstest.Image(t)
	for _, s := range kinds {
		for _, c := range cases {
			if c.needs != 0 && s.shortest > c.needs && !*long {
				continue
			}
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(newLine(t, root, s))
			})
		}
	}
}

// testLease: two packets to the first lease, one to the next, and the kernel has
// what was granted.
func testLease(l *line) {
	r, addr := l.leased(usual(time.Hour))
	if got, want := r.phases(0), []string{"DISCOVER", "REQUEST selecting"}; !slices.Equal(got, want) {
		l.t.Errorf("sent %q, want %q", got, want)
	}
	st := r.status()
	if st.State != "bound" || st.Address != addr || st.Server != l.service.addr.Addr() || st.Diagnosis != "" || st.LeaseSeconds < 3590 {
		l.t.Errorf("status %+v", st)
	}
	r.become(intent.Backup)
	count := len(r.sent())
	r.become(intent.Primary)
	r.answers(dhcpv4.MessageTypeAck, 2, 5*time.Second)
	if again := r.holdsLease(time.Second); again != addr {
		l.t.Errorf("%v the second time, %v the first", again, addr)
	}
	if got, want := r.phases(count), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		l.t.Errorf("the second time sent %q, want %q", got, want)
	}
}

// testRenew: over renewals of a lease of seconds the address never leaves the
// kernel, and its lifetime there follows.
func testRenew(l *line) {
	s := hasty(l.kind)
	if l.kind.shortest <= 2*time.Second {
		s = usual(2 * time.Second)
	}
	r, addr := l.leased(s)
	before := r.holds()
	r.answers(dhcpv4.MessageTypeAck, 4, 20*time.Second)
	if now := r.holds(); now.addr != addr || now.index != before.index || now.gateway != before.gateway {
		l.t.Errorf("the kernel holds %+v, before %+v", now, before)
	}
	if gone := r.addrs.removed(0); len(gone) > 0 {
		l.t.Errorf("addresses were removed: %+v", gone)
	}
	for _, m := range r.sent()[2:] {
		if m.phase() != "REQUEST renewing" || m.m.ClientIPAddr.String() != addr.Addr().String() || m.m.IsBroadcast() {
			l.t.Errorf("sent %s: %s", m.phase(), m.m.Summary())
		}
	}
}

// testRebind: the server comes back under another address of the same network.
// It cannot be asked by unicast; the broadcast of REBINDING finds it, and the
// default route follows.
func testRebind(l *line) {
	s := hasty(l.kind)
	r, addr := l.leased(s)
	l.halt()
	l.serve(s.in("100.64.10.2/24", "100.64.10.100", "100.64.10.120"))
	r.until("lease of the new server", 20*time.Second, func(w control.WAN) bool { return w.Server == l.service.addr.Addr() })
	if now := r.holdsLease(time.Second); now != addr {
		l.t.Errorf("address %v, before %v", now, addr)
	}
	if gone := r.addrs.removed(0); len(gone) > 0 {
		l.t.Errorf("addresses were removed: %+v", gone)
	}
	if got := r.phases(2); !slices.Contains(got, "REQUEST rebinding") || slices.Contains(got, "DISCOVER") {
		l.t.Errorf("sent %q", got)
	}
}

// testExpiry: the server is gone. The address is used until the end of the lease
// and not a moment longer; a server that comes back is found.
func testExpiry(l *line) {
	s := usual(max(l.kind.shortest, 4*time.Second))
	r, addr := l.leased(s)
	l.halt()
	st := r.until("the end of the lease", s.lease+5*time.Second, func(w control.WAN) bool { return !w.Address.IsValid() })
	now := time.Now()
	if h := r.holds(); h.addr.IsValid() || h.gateway.IsValid() {
		l.t.Errorf("the kernel still holds %+v", h)
	}
	granted := r.answers(dhcpv4.MessageTypeAck, r.count(dhcpv4.MessageTypeAck), time.Second).At
	gone := r.addrs.removed(0)
	if len(gone) != 1 || gone[0].addr != addr.String() {
		l.t.Fatalf("addresses removed: %+v", gone)
	}
	held := gone[0].at.Sub(granted)
	if held > s.lease+slack || held < s.lease-time.Second {
		l.t.Errorf("the address was held for %v of a lease of %v", held, s.lease)
	}
	if st.Diagnosis != "no-answer" || st.State == "bound" {
		l.t.Errorf("status %+v", st)
	}
	l.t.Logf("held for %v of %v, reported %v later", held, s.lease, now.Sub(gone[0].at))
	l.serve(s)
	if again := r.holdsLease(20 * time.Second); again != addr {
		l.t.Errorf("address %v, before %v", again, addr)
	}
}

// renumber makes the ISP serve another network.
func (l *line) renumber(s service) {
	l.t.Helper()
	l.halt()
	l.forget()
	l.serve(s.in("100.64.20.1/24", "100.64.20.100", "100.64.20.120"))
}

// renumbered checks that the router went from the address old to one of the new
// network without a detour, and returns for how long it had none.
func (r *router) renumbered(old netip.Prefix, limit time.Duration) time.Duration {
	r.t.Helper()
	fresh := r.holdsLease(limit)
	var left, came time.Time
	r.eventually("the kernel tells of the change", time.Second, func() bool {
		for _, c := range r.addrs.changes(0) {
			switch {
			case !c.added && c.addr == old.String():
				left = c.at
			case c.added && c.addr == fresh.String():
				came = c.at
			}
		}
		return !left.IsZero() && !came.IsZero()
	})
	r.until("no finding is left", time.Second, func(w control.WAN) bool { return w.State == "bound" && w.Diagnosis == "" })
	return came.Sub(left)
}

// testRenumbered: the ISP's line goes down and comes back with another network,
// as after a modem's reboot. One NAK later there is a new address.
func testRenumbered(l *line) {
	s := usual(time.Hour)
	r, old := l.leased(s)
	l.carrier(r, false)
	r.until("no carrier", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis == "no-carrier" })
	l.renumber(s)
	l.carrier(r, true)
	gap := r.renumbered(old, 10*time.Second)
	if want := []string{"REQUEST init-reboot", "DISCOVER", "REQUEST selecting"}; !slices.Equal(r.exchanges(2), want) {
		l.t.Errorf("sent %q, want %q", r.exchanges(2), want)
	}
	if gap > gapLimit {
		l.t.Errorf("no address for %v", gap)
	}
	l.t.Logf("no address for %v", gap)
}

// testRenumberedUnseen: the ISP renumbers and the client finds out by itself:
// from a NAK to its REBIND, or where the server says nothing to that, when the
// lease ends.
func testRenumberedUnseen(l *line) {
	s := hasty(l.kind)
	r, old := l.leased(s)
	l.renumber(s)
	gap := r.renumbered(old, s.lease+5*time.Second)
	if gap > gapLimit {
		l.t.Errorf("no address for %v", gap)
	}
	if refused := r.count(dhcpv4.MessageTypeNak) > 0; refused != l.kind.refuses {
		l.t.Errorf("refused: %v, want %v; sent %q", refused, l.kind.refuses, r.phases(2))
	}
	l.t.Logf("no address for %v, sent %q", gap, r.phases(2))
}

// testRestart: a server that restarts and knows its leases is not felt.
func testRestart(l *line) {
	s := hasty(l.kind)
	r, addr := l.leased(s)
	l.halt()
	l.serve(s)
	r.answers(dhcpv4.MessageTypeAck, 3, 20*time.Second)
	if now := r.holdsLease(time.Second); now != addr {
		l.t.Errorf("address %v, before %v", now, addr)
	}
	if gone := r.addrs.removed(0); len(gone) > 0 {
		l.t.Errorf("addresses were removed: %+v", gone)
	}
}

// testAmnesia: a server that has lost its leases confirms, refuses or is silent,
// as it likes. The client ends with a lease, and never without an address for
// long.
func testAmnesia(l *line) {
	s := hasty(l.kind)
	r, addr := l.leased(s)
	l.halt()
	l.forget()
	l.serve(s)
	r.answers(dhcpv4.MessageTypeAck, 4, s.lease+20*time.Second)
	if now := r.holdsLease(time.Second); now != addr {
		l.t.Errorf("address %v, before %v", now, addr)
	}
	gone := r.addrs.removed(0)
	if len(gone) > 1 {
		l.t.Errorf("removed %+v", gone)
	}
	for i, c := range r.addrs.changes(0) {
		if i > 0 && c.added && len(gone) == 1 && c.at.After(gone[0].at) {
			if gap := c.at.Sub(gone[0].at); gap > slack {
				l.t.Errorf("no address for %v", gap)
			}
			break
		}
	}
	l.t.Logf("lost %d times, sent %q", len(gone), r.phases(2))
}

// testTakeover: the routers take turns. The address stays, the lease is never
// given back, and the one that is backup transmits nothing.
func testTakeover(l *line) {
	l.serve(usual(time.Hour))
	a, b := l.router(), l.router()
	a.become(intent.Primary)
	addr := a.holdsLease(time.Second)
	for range 3 {
		a.become(intent.Backup)
		a.settle()
		silent := len(a.sentShared())
		b.become(intent.Primary)
		if now := b.holdsLease(time.Second); now != addr {
			l.t.Errorf("%s has %v, the other had %v", b.port, now, addr)
		}
		b.until("confirmed", 5*time.Second, func(w control.WAN) bool { return w.State == "bound" })
		a.settle()
		if late := a.sentShared()[silent:]; len(late) > 0 {
			l.t.Errorf("%s is backup and transmits %v", a.port, late)
		}
		a, b = b, a
	}
	for _, r := range l.routers {
		for _, m := range r.sent() {
			if m.m.MessageType() == dhcpv4.MessageTypeRelease {
				l.t.Errorf("%s sent a RELEASE", r.port)
			}
		}
	}
	if got := a.phases(0); got[len(got)-1] != "REQUEST selecting" && got[len(got)-1] != "REQUEST init-reboot" {
		l.t.Errorf("%s sent %q", a.port, got)
	}
}

// sentShared is all that the router has sent with the shared address.
func (r *router) sentShared() []lab.Frame {
	return r.wire.Frames(func(f lab.Frame) bool { return f.FromMachine && f.Src().String() == shared })
}
