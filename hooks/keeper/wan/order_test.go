package wan

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/intent"
)

// Orders and the gate.
func TestOrders(t *testing.T) {
	faults(t, map[string]func(*rig){
		"the same role again does something": func(r *rig) {
			r.primaryWith(5)
			r.do(openPrimary(3), "")
			r.do(openPrimary(4), "")
			r.do(GateOpened{4}, "")
			if s := r.m.State(); s.Epoch != 4 || !s.Settled {
				r.t.Errorf("%+v", s)
			}
		},
		"an older order counts": func(r *rig) {
			r.mutedWith(5)
			r.do(openPrimary(2), "")
			if s := r.m.State(); s.Epoch != 3 || s.WAN.Role != intent.Backup {
				r.t.Errorf("%+v", s)
			}
		},
		"the address comes before the gate": func(r *rig) {
			r.backupFirst()
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply") // without the address
			r.do(done, "publish 5")
			if s := r.m.State(); s.Settled || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "conntrackd") {
				r.t.Errorf("%+v", s)
			}
			r.do(GateOpened{1}, "") // of another order
			r.do(GateOpened{2}, "apply 5")
			r.do(added, "announce 5")
			if !r.m.State().Settled {
				r.t.Error("not settled")
			}
		},
		"the gate opens an order that is over": func(r *rig) {
			r.backupFirst()
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(backup(3), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.do(GateOpened{2}, "")
			r.do(GateOpened{3}, "")
		},
		"a mute link is unmuted before the gate": func(r *rig) {
			l := r.mutedWith(5)
			r.do(primary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenMuted()}, "")
			r.do(GateOpened{4}, "apply 5")
			r.do(unmuted, "announce 5; startdhcp")
			r.do(done, "")
		},
		"a mute link without an address is unmuted before the gate": func(r *rig) {
			r.mutedWith(5)
			r.do(primary(4), "observe")
			r.do(Done{Observed: seenMuted()}, "")
			r.do(GateOpened{4}, "apply")
			r.do(unmuted, "startdhcp")
		},
		"a link that nobody could look at is unmuted before the gate": func(r *rig) {
			r.do(primary(1), "observe")
			r.do(failed, "")
			r.do(GateOpened{1}, "apply")
		},
		"events before the first order do something": func(r *rig) {
			r.do(KernelChanged{}, "")
			r.do(Refresh{}, "")
			r.do(MACMoved{}, "")
			r.do(GateOpened{}, "")
			r.do(Woke{}, "")
		},
		"a link that nobody has looked at loses the address that it has": func(r *rig) {
			l := r.lease(5)
			r.do(primary(1), "observe")
			r.do(Done{Observed: seen(l), Remembered: l}, "apply 5")
			r.do(done, "probe 5; startdhcp")
			r.do(done, "")
			r.after(time.Minute).do(LeaseChanged{dhcp.Update{State: dhcp.Init}}, "publish nothing; apply")
			r.do(done, "stopannouncing")
			if l := r.logged[len(r.logged)-1]; strings.Contains(l, "held") { // since when, nobody knows
				r.t.Errorf("logged %q", l)
			}
		},
		"a mute link with another MAC keeps its address": func(r *rig) {
			l := r.mutedWith(5)
			o := seenMuted(l)
			o.Matches = false
			r.do(openPrimary(4), "observe")
			r.do(Done{Observed: o, Remembered: l}, "apply")
		},
		"a gate that nothing waits at has the kernel asked": func(r *rig) {
			r.backupFirst()
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(GateOpened{2}, "") // no lease yet
			r.do(bound(r.lease(5)), "apply 5")
		},
		"a gate that opens has a repair made before its time": func(r *rig) {
			r.backupFirst()
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply")
			r.do(failed, "publish 5")
			r.do(GateOpened{2}, "")
			r.after(healSoonest).do(Woke{}, "apply 5")
		},
		"the gate of an address that was there all the time changes something": func(r *rig) {
			l := r.lease(5)
			r.do(Found{seen(l), l}, "")
			r.do(primary(1), "apply 5")
			r.do(done, "probe 5; startdhcp")
			r.do(done, "")
			r.do(GateOpened{1}, "")
		},
	})
}
