package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// A whole life, as the log of a router has it.
func TestPrimaryAndBack(t *testing.T) {
	r := newRig(t)
	r.mutedWith(5)
	if s := r.m.State(); !s.Settled || s.WAN.State != control.StateMuted {
		t.Errorf("%+v", s)
	}
	r.after(2*time.Second).do(Woke{}, "purge")
	r.do(Done{Deleted: true}, "")
	if s := r.m.State(); !s.Settled || s.WAN.State != control.StateStandby || !s.Absent {
		t.Errorf("%+v", s)
	}
	r.promoted(4, 5)
	want := []string{
		"INFO lease bound address 192.0.2.5/24 gateway 192.0.2.1 server 192.0.2.1 lease 1h0m0s took 0s",
		"INFO lease left to the peer old_address 192.0.2.5/24 held 0s",
		"INFO lease bound address 192.0.2.5/24 gateway 192.0.2.1 server 192.0.2.1 lease 1h0m0s took 0s",
	}
	for i, l := range r.logged {
		if i >= len(want) || normal(l) != normal(want[i]) {
			t.Errorf("logged %q, want %q", r.logged, want)
			break
		}
	}
}

func normal(s string) string { return strings.ReplaceAll(s, " ", "") }

// faults runs cases, each of which is named by a fault that the machine must not
// have.
func faults(t *testing.T, cases map[string]func(*rig)) {
	t.Helper()
	for name, f := range cases {
		t.Run(name, func(t *testing.T) { f(newRig(t)) })
	}
}

// The parts of a transition, and when each has ended.
func TestPhases(t *testing.T) {
	r := newRig(t)
	r.backupFirst()
	r.do(openPrimary(2), "apply")
	r.after(time.Millisecond)
	made := created
	made.Took = time.Millisecond
	r.do(made, "startdhcp")
	r.do(done, "")
	r.after(4*time.Millisecond).do(bound(r.lease(5)), "apply 5")
	r.after(2 * time.Millisecond)
	with := added
	with.Took = 2 * time.Millisecond
	r.do(with, "announce 5; publish 5")
	want := []control.Phase{
		{Name: control.PhaseMacvlan, Detail: "wan on eth2", Took: time.Millisecond, At: time.Millisecond},
		{Name: control.PhaseLease, Detail: "192.0.2.5/24 from 192.0.2.1", Took: 5 * time.Millisecond, At: 5 * time.Millisecond},
		{Name: control.PhaseAddress, Detail: "192.0.2.5/24", Took: 2 * time.Millisecond, At: 7 * time.Millisecond},
	}
	if got := r.m.State().Phases; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	r.do(bound(r.lease(6)), "apply 6") // not of this transition any more
	r.do(added, "announce 6; publish 6")
	if got := r.m.State().Phases; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	o := backup(3)
	o.Linger = 0
	r.do(o, "canceldhcp; mute")
	r.do(done, "stopsending; publish nothing; purge")
	r.after(time.Second).do(Done{Took: time.Second, Deleted: true}, "")
	want = []control.Phase{
		{Name: control.PhaseSilent, Detail: "wan"},
		{Name: control.PhaseDeleted, Detail: "wan", Took: time.Second, At: time.Second},
	}
	if got := r.m.State().Phases; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The pause between repairs grows, and is short again after healReset without one.
func TestBackoff(t *testing.T) {
	var b Backoff
	now := 10 * time.Hour
	var waits []time.Duration
	for range 12 {
		w := b.Next(now)
		waits = append(waits, w)
		now += w
	}
	if waits[0] != healSoonest || waits[1] != 2*healSoonest || waits[11] != healLatest {
		t.Errorf("%v", waits)
	}
	if w := b.Next(now + healReset); w != healLatest {
		t.Errorf("less than healReset without a repair: %v", w)
	}
	if w := b.Next(now + 3*healReset); w != healSoonest {
		t.Errorf("after healReset without a repair: %v", w)
	}
}

func TestForeign(t *testing.T) {
	foreign, twin := fmt.Errorf("purge: %w", netif.ErrForeign), fmt.Errorf("purge: %w", netif.ErrTwin)
	for _, c := range []struct {
		err  error
		want bool
	}{
		{foreign, true},
		{twin, true},
		{errTest, false},
		{errors.Join(foreign, twin), true},
		{errors.Join(foreign, errTest), false},
		{errors.Join(errTest, foreign), false},
	} {
		if got := Foreign(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// What a primary reports of its lease.
func TestState(t *testing.T) {
	r := newRig(t)
	l := r.primaryWith(5)
	l.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	s := r.m.State()
	if w := s.WAN; w.Name != "wan" || w.Parent != "eth2" || w.MAC != "02:00:00:00:00:01" || w.Role != intent.Primary || w.State != "bound" ||
		w.Address != l.Prefix || w.Gateway != l.Gateway || w.Server != l.Server || !slices.Equal(w.DNS, l.DNS) || s.Lease != l || s.Epoch != 2 || s.Since != r.now {
		t.Errorf("%+v", s)
	}
}

func TestRefreshed(t *testing.T) {
	l := leased("192.0.2.5/24", time.Hour)
	for _, c := range []struct {
		after time.Duration
		want  [3]int64
	}{
		{0, [3]int64{3600, 3600, 1800}},
		{20 * time.Minute, [3]int64{2400, 3600, 600}},
		{40 * time.Minute, [3]int64{1200, 3600, 0}},
	} {
		w := Refreshed(control.WAN{}, l, time.Hour+c.after)
		if got := [3]int64{w.LeaseSeconds, w.LeaseTotal, w.RenewSeconds}; got != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
	l.TTL = dhcp.Infinite
	if w := Refreshed(control.WAN{}, l, time.Hour); w.LeaseSeconds != -1 || w.LeaseTotal != -1 {
		t.Errorf("%+v", w)
	}
	if w := Refreshed(control.WAN{}, nil, time.Hour); w.LeaseSeconds != 0 {
		t.Errorf("%+v", w)
	}
}

// What keeps a primary as it is may not undo what was done for a newer order: then
// it waits for that order. What an order asks for need not be compared.
func TestRepairIsOvertaken(t *testing.T) {
	r := newRig(t)
	r.backupFirst()
	l := r.lease(7)
	r.do(openPrimary(2), "apply")
	if r.last.(Apply).Repair {
		t.Error("a promotion is no repair")
	}
	r.do(created, "startdhcp")
	r.do(done, "")
	r.do(bound(l), "apply 7")
	r.do(added, "announce 7; publish 7")
	r.do(KernelChanged{}, "glance")
	r.do(Done{Observed: seenMuted(l)}, "carrier true; apply 7")
	if !r.last.(Apply).Repair {
		t.Error("the WAN of a primary was found mute: that is a repair")
	}
	r.do(Done{Overtaken: true}, "")
	if s := r.m.State(); s.Epoch != 2 || !s.Held {
		t.Errorf("%+v", s)
	}
	r.do(backup(3), "canceldhcp; mute")
}
