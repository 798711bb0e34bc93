package matrix

import (
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab/nstest"
)

// TestLinkEvents: what happens to the cable, the parent and the link while a
// router is primary. The client is the same against all servers, so one will do.
func TestLinkEvents(t *testing.T) {
	root := nstest.Image(t)
	for _, c := range []struct {
		name string
		run  func(*router)
	}{
		{"carrier lost and back", testCarrier},
		{"carrier flaps", testFlaps},
		{"macvlan deleted", testLinkDeleted},
		{"parent deleted and back", testParentDeleted},
		{"parent down", testParentDown},
		{"promoted without carrier", testNoCarrier},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, root, kind("dnsmasq"))
			l.serve(usual(time.Hour))
			c.run(l.router())
		})
	}
}

func bound(w control.WAN) bool { return w.State == "bound" && w.Diagnosis == "" }

func testCarrier(r *router) {
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	before, changes := r.holds(), len(r.addrs.changes(0))
	r.line.carrier(r, false)
	w := r.until("no carrier", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis == "no-carrier" })
	if w.Address != addr {
		r.t.Errorf("without carrier the lease is %v, it was %v", w.Address, addr)
	}
	r.line.carrier(r, true)
	r.answers(dhcpv4.MessageTypeAck, 2, 10*time.Second)
	r.until("bound", 5*time.Second, bound)
	if got, want := r.exchanges(2), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		r.t.Errorf("sent %q, want %q", got, want)
	}
	if now := r.holds(); now.addr != addr || now.index != before.index || now.gateway != before.gateway {
		r.t.Errorf("the kernel holds %+v, before %+v", now, before)
	}
	for _, f := range r.sentShared() {
		_, arp := f.ARP()
		if _, dhcp := f.DHCP(); !arp && !dhcp {
			r.t.Errorf("sent %v: %x", f, f.Data)
		}
	}
	for _, c := range r.addrs.changes(changes) {
		if !c.added || c.addr != addr.String() {
			r.t.Errorf("change of addresses: %+v", c)
		}
	}
}

// testFlaps: a loose contact must become neither a flood nor another address.
func testFlaps(r *router) {
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	start := time.Now()
	for range 15 {
		r.line.carrier(r, false)
		r.until("no carrier", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis == "no-carrier" })
		r.line.carrier(r, true)
		r.until("carrier", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis != "no-carrier" })
	}
	r.until("bound", 10*time.Second, bound)
	took := time.Since(start)
	phases := r.exchanges(2)
	if most := 2 + int(took/time.Second); len(phases) == 0 || len(phases) > most {
		r.t.Errorf("%d packets in %v of flapping, want 1 to %d: %q", len(phases), took, most, phases)
	}
	for _, p := range phases {
		if p != "REQUEST init-reboot" {
			r.t.Errorf("sent %s", p)
		}
	}
	if gone := r.addrs.removed(0); len(gone) > 0 || r.holds().addr != addr {
		r.t.Errorf("removed %+v, now %v", gone, r.holds().addr)
	}
}

// testLinkDeleted: somebody deletes the macvlan of a primary.
func testLinkDeleted(r *router) {
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	before := r.holds()
	link, err := r.kernel.LinkByName(wanName)
	r.must(err)
	r.must(r.kernel.LinkDel(link))
	start := time.Now()
	if now := r.holdsLease(5 * time.Second); now != addr || r.holds().index == before.index {
		r.t.Errorf("the kernel holds %v (link %d), before %v (link %d)", now, r.holds().index, addr, before.index)
	}
	r.t.Logf("healed after %v", time.Since(start))
	if took := time.Since(start); took > time.Second {
		r.t.Errorf("healed after %v", took)
	}
	r.until("bound", 10*time.Second, bound)
	if slices.Contains(r.exchanges(2), "DISCOVER") {
		r.t.Errorf("sent %q", r.exchanges(2))
	}
}

// testParentDeleted: a USB adapter is pulled and plugged in again.
func testParentDeleted(r *router) {
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	p, err := r.kernel.LinkByName(parent)
	r.must(err)
	r.must(r.kernel.LinkDel(p))
	r.until("the missing parent is reported", 5*time.Second, func(w control.WAN) bool { return w.Error != "" })
	r.plug(r)
	if now := r.holdsLease(15 * time.Second); now != addr {
		r.t.Errorf("the kernel holds %v, before %v", now, addr)
	}
	r.answers(dhcpv4.MessageTypeAck, 1, 10*time.Second)
	w := r.until("bound", 10*time.Second, func(w control.WAN) bool { return bound(w) && w.Error == "" })
	if w.Address != addr {
		r.t.Errorf("status %+v", w)
	}
	if got, want := r.exchanges(0), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		r.t.Errorf("sent %q, want %q", got, want)
	}
}

// testParentDown: somebody sets the parent down. That is undone, and since the
// line may be another one by now the address is confirmed.
func testParentDown(r *router) {
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	p, err := r.kernel.LinkByName(parent)
	r.must(err)
	r.must(r.kernel.LinkSetDown(p))
	r.answers(dhcpv4.MessageTypeAck, 2, 10*time.Second)
	if now := r.holdsLease(time.Second); now != addr {
		r.t.Errorf("the kernel holds %v, before %v", now, addr)
	}
	r.until("bound", 5*time.Second, bound)
	if got, want := r.exchanges(2), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		r.t.Errorf("sent %q, want %q", got, want)
	}
}

// testNoCarrier: the cable is out when the router becomes primary. Nothing is
// sent until it is in, and then at once.
func testNoCarrier(r *router) {
	r.line.carrier(r, false)
	if out, err := r.command("primary", "--wait", "300ms"); err == nil {
		r.t.Errorf("primary without a cable is fine: %s", out)
	}
	r.until("no carrier", 5*time.Second, func(w control.WAN) bool { return w.Diagnosis == "no-carrier" })
	r.line.carrier(r, true)
	start := time.Now()
	r.holdsLease(10 * time.Second)
	r.t.Logf("%v from the carrier to the address, sent %q", time.Since(start), r.exchanges(0))
	if got, want := r.exchanges(0), []string{"DISCOVER", "REQUEST selecting"}; !slices.Equal(got, want) {
		r.t.Errorf("sent %q, want %q", got, want)
	}
}
