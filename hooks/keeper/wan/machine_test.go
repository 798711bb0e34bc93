package wan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/netif"
)

// A whole life, as the log of a router has it.
func TestPrimaryAndBack(t *testing.T) {
	r := newRig(t)
	r.mutedWith(5)
	if s := r.m.State(); !s.Settled || s.WAN.State != hooks.StateMuted {
		t.Errorf("%+v", s)
	}
	r.after(2*time.Second).do(Woke{}, "purge")
	r.do(Done{Deleted: true}, "")
	if s := r.m.State(); !s.Settled || s.WAN.State != hooks.StateStandby || !s.Absent {
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

// Each case is a fault that the machine must not have.
func TestMachine(t *testing.T) {
	for name, f := range map[string]func(*rig){
		"the same role again does something": func(r *rig) {
			r.primaryWith(5)
			r.do(openPrimary(3), "")
			r.do(openPrimary(4), "")
			r.do(GateOpened{4}, "")
			if s := r.m.State(); s.Epoch != 4 || !s.Settled {
				r.t.Errorf("%+v", s)
			}
		},
		"backup again mutes and deletes again": func(r *rig) {
			r.mutedWith(5)
			r.do(backup(4), "")
			r.after(1900*time.Millisecond).do(Woke{}, "")
			r.after(100*time.Millisecond).do(Woke{}, "purge")
			r.do(done, "")
			r.do(backup(5), "")
		},
		"an older order counts": func(r *rig) {
			r.mutedWith(5)
			r.do(openPrimary(2), "")
			if s := r.m.State(); s.Epoch != 3 || s.WAN.Role != hooks.Backup {
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
		"an address of another lease is kept on a mute link": func(r *rig) {
			r.mutedWith(5)
			r.do(openPrimary(4), "observe")
			r.do(Done{Observed: seenMuted(r.lease(5)), Remembered: r.lease(6)}, "apply")
		},
		"an address whose lease has expired is kept on a mute link": func(r *rig) {
			l := r.mutedWith(5)
			r.after(time.Hour).do(openPrimary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "apply")
		},
		"an unmuted address is not announced": func(r *rig) {
			l := r.mutedWith(5)
			r.do(openPrimary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "apply 5")
			r.do(unmuted, "announce 5; startdhcp")
		},
		"a lost lease is not withdrawn, and its address kept": func(r *rig) {
			r.primaryWith(5)
			r.do(LeaseChanged{dhcp.Update{State: dhcp.Init}}, "publish nothing; apply")
			r.do(done, "stopannouncing")
			if s := r.m.State(); s.Settled || s.WAN.Address.IsValid() || s.Held {
				r.t.Errorf("%+v", s)
			}
			if l := r.logged[len(r.logged)-1]; !strings.HasPrefix(l, "INFO lease lost") {
				r.t.Errorf("logged %q", l)
			}
		},
		"another address is not announced": func(r *rig) {
			r.primaryWith(5)
			r.do(bound(r.lease(6)), "apply 6")
			r.do(added, "announce 6; publish 6")
		},
		"a renewed lease is announced": func(r *rig) {
			r.primaryWith(5)
			r.do(bound(r.lease(5)), "apply 5")
			r.do(Done{Changes: netif.Changes{Steps: []string{"set lifetime"}}}, "publish 5")
		},
		"an update without another lease does something": func(r *rig) {
			l := r.primaryWith(5)
			r.do(LeaseChanged{dhcp.Update{State: dhcp.Renewing, Lease: l}}, "")
			if s := r.m.State(); s.WAN.State != "renewing" {
				r.t.Errorf("%+v", s)
			}
		},
		"a client that was told to end brings a lease": func(r *rig) {
			r.mutedWith(5)
			r.do(bound(r.lease(5)), "")
			r.do(ClientEnded{}, "")
			if at := r.m.Wake(); at != r.now+2*time.Second {
				r.t.Errorf("woken in %v", at-r.now)
			}
		},
		"the lease of a link that was made anew is not published again": func(r *rig) {
			r.primaryWith(5)
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenNothing}, "carrier false; apply 5")
			r.do(created, "announce 5; publish 5")
		},
		"a changed gateway is not probed": func(r *rig) {
			r.primaryWith(5)
			l := r.lease(5)
			l.Gateway = l.Gateway.Next()
			r.do(bound(l), "apply 5")
			r.do(done, "probe 5; publish 5")
		},
		"a DHCP client that ended is not replaced": func(r *rig) {
			r.primaryWith(5)
			r.do(ClientEnded{}, "")
			r.after(healSoonest).do(Woke{}, "apply 5")
			r.do(done, "startdhcp")
			r.do(done, "")
		},
		"a DHCP client that does not start is tried in a hot loop": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(created, "startdhcp")
			r.do(failed, "")
			r.do(Woke{}, "")
			r.after(healSoonest).do(Woke{}, "apply")
			r.do(done, "startdhcp")
			r.do(failed, "")
			r.after(healSoonest).do(Woke{}, "")
			r.after(healSoonest).do(Woke{}, "apply")
			r.do(done, "startdhcp")
			r.do(done, "")
		},
		"release without an order": func(r *rig) {
			r.primaryWith(5)
			o := backup(3)
			o.Release = true
			r.do(o, "release 5")
			r.do(failed, "canceldhcp; mute") // and silent all the same
			r.do(done, "stopsending; publish nothing")
			if !slices.ContainsFunc(r.m.State().Phases, func(p hooks.Phase) bool { return p.Name == hooks.PhaseRelease && p.Error != "" }) {
				r.t.Error("no such phase")
			}
			if l := r.logged[len(r.logged)-1]; !strings.HasPrefix(l, "INFO lease released") {
				r.t.Errorf("logged %q", l)
			}
		},
		"a lease that is not there is given back": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			o := backup(3)
			o.Release = true
			r.do(o, "canceldhcp; mute")
		},
		"a link that cannot be muted lingers": func(r *rig) {
			r.primaryWith(5)
			r.do(backup(3), "canceldhcp; mute")
			r.do(failed, "stopsending; publish nothing; purge")
			r.do(Done{Deleted: true}, "")
			if !r.m.State().Settled {
				r.t.Error("not settled")
			}
		},
		"a link lingers although nothing is replicated": func(r *rig) {
			r.primaryWith(5)
			o := backup(3)
			o.Linger = 0
			r.do(o, "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing; purge")
		},
		"a link that cannot be deleted counts as silent": func(r *rig) {
			r.primaryWith(5)
			o := backup(3)
			o.Linger = 0
			r.do(o, "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing; purge")
			r.do(failed, "")
			if s := r.m.State(); s.Settled || s.WAN.Error == "" {
				r.t.Errorf("%+v", s)
			}
			r.after(healSoonest).do(Woke{}, "purge")
			r.do(Done{Deleted: true}, "")
			if s := r.m.State(); !s.Settled || s.WAN.Error != "" {
				r.t.Errorf("%+v", s)
			}
		},
		"a link that somebody unmuted lingers on": func(r *rig) {
			r.mutedWith(5)
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenMuted()}, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "purge")
			r.do(Done{Deleted: true}, "")
			r.after(2*time.Second).do(Woke{}, "")
		},
		"a lock that somebody took off a mute link stays off": func(r *rig) {
			r.mutedWith(5)
			loose := seenMuted()
			loose.Loose = true
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: loose}, "mute")
			r.do(done, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenMuted()}, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: loose}, "mute")
			r.do(failed, "purge")
		},
		"a link that lingers is forgotten when the kernel cannot be asked": func(r *rig) {
			r.mutedWith(5)
			r.do(KernelChanged{}, "glance")
			r.do(failed, "purge")
		},
		"a muted link that an earlier process left is adopted as up": func(r *rig) {
			l := r.lease(5)
			r.do(Found{seenMuted(l), l}, "")
			r.do(primary(1), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "")
			r.do(GateOpened{1}, "apply 5")
			r.do(unmuted, "announce 5; startdhcp")
		},
		"a link that an earlier process left up loses its address": func(r *rig) {
			l := r.lease(5)
			r.do(Found{seen(l), l}, "")
			r.do(primary(1), "apply 5")
			r.do(done, "probe 5; startdhcp") // no announcement: it was there all the time
			r.do(done, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply 5")
			r.do(done, "")
		},
		"a link with another MAC is adopted": func(r *rig) {
			l := r.lease(5)
			o := seen(l)
			o.Matches = false
			r.do(Found{o, l}, "")
			r.do(primary(1), "apply")
		},
		"a link that an earlier process left lingers not": func(r *rig) {
			l := r.lease(5)
			r.do(Found{seen(l), l}, "")
			r.do(backup(1), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.after(2*time.Second).do(Woke{}, "purge")
		},
		"a mute link that nobody has looked at is deleted at once": func(r *rig) {
			r.do(backup(1), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing; observe")
			r.do(Done{Observed: seenMuted()}, "")
			r.after(2*time.Second).do(Woke{}, "purge")
		},
		"a link that Mute took down lingers": func(r *rig) {
			r.do(backup(1), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing; observe")
			r.do(Done{Observed: seen()}, "purge")
		},
		"somebody else's link is fought for": func(r *rig) {
			r.do(Found{Observed: seenNothing}, "")
			r.do(backup(1), "canceldhcp; mute")
			foreign := Done{Err: fmt.Errorf("purge: %w", netif.ErrForeign)}
			r.do(foreign, "stopsending; publish nothing; purge")
			r.do(foreign, "")
			if s := r.m.State(); !s.Settled || s.WAN.State != hooks.StateForeign || s.WAN.Error == "" {
				r.t.Errorf("%+v", s)
			}
			if at := r.m.Wake(); at != r.now+careful {
				r.t.Errorf("woken in %v", at-r.now)
			}
		},
		"a link that should not be there stays": func(r *rig) {
			r.backupFirst()
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "purge")
			r.do(Done{Deleted: true}, "")
			if len(r.logged) != 1 || !strings.HasPrefix(r.logged[0], "WARN deleted a link") {
				r.t.Errorf("logged %q", r.logged)
			}
		},
		"what fails is tried in a hot loop": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			for _, wait := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400} {
				r.do(failed, "")
				r.after(wait*time.Millisecond-1).do(Woke{}, "")
				r.after(1).do(Woke{}, "apply")
			}
			r.do(created, "startdhcp")
			if r.do(done, ""); len(r.logged) != 2 { // the failure, and its end
				r.t.Errorf("logged %q", r.logged)
			}
		},
		"a parent that appears is waited for": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(Done{Err: netif.ErrNoParent}, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{}, "") // not there yet
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenNothing}, "apply")
		},
		"another failure is tried again by each event": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(failed, "")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenNothing}, "")
		},
		"a fight with another program becomes a storm": func(r *rig) {
			r.primaryWith(5)
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply 5")
			r.do(added, "announce 5")
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true") // later
			r.after(healSoonest).do(Woke{}, "apply 5")
			r.do(added, "announce 5")
			r.after(healSoonest).do(Woke{}, "")
			r.after(healSoonest).do(Woke{}, "apply 5")
			r.do(done, "")
		},
		"our own first steps count as somebody else's": func(r *rig) {
			r.backupFirst()
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply")
			r.do(done, "publish 5")
			r.m.open = true // as a gate that opens while the event is on its way
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply 5")
			r.do(added, "announce 5")
			for _, l := range r.logged {
				if strings.HasPrefix(l, "WARN") {
					r.t.Errorf("logged %q", l)
				}
			}
		},
		"nobody looks without an event": func(r *rig) {
			r.primaryWith(5)
			r.after(careful).do(Woke{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply 5")
			r.do(done, "")
			if at := r.m.Wake(); at != r.now+careful {
				r.t.Errorf("woken in %v", at-r.now)
			}
		},
		"events before the first order do something": func(r *rig) {
			r.do(KernelChanged{}, "")
			r.do(Refresh{}, "")
			r.do(MACMoved{}, "")
			r.do(GateOpened{}, "")
			r.do(Woke{}, "")
		},
		"a backup publishes a lease": func(r *rig) {
			r.mutedWith(5)
			r.do(Refresh{}, "publish nothing; glance")
			r.do(Done{Observed: seenMuted()}, "")
		},
		"what was published is not published again": func(r *rig) {
			r.primaryWith(5)
			r.do(Refresh{}, "publish 5; glance")
		},
		"a gateway that falls silent puts the lease in no doubt": func(r *rig) {
			r.primaryWith(5)
			r.do(GatewayProbed{}, "") // it has never answered
			r.do(GatewayProbed{hooks.Reach{Reachable: true}}, "")
			r.do(GatewayProbed{hooks.Reach{Reachable: true}}, "")
			r.do(GatewayProbed{}, "confirmlease")
			r.do(GatewayProbed{}, "")
			r.do(GatewayProbed{hooks.Reach{Reachable: true}}, "")
			r.do(ClientEnded{}, "")
			r.do(GatewayProbed{}, "")
		},
		"the MAC moved, and nothing is announced": func(r *rig) {
			r.primaryWith(5)
			r.after(time.Second).do(MACMoved{"MASTER_RX_LOWER_PRI"}, "announce 5")
		},
		"each lower advert begins an announcement anew": func(r *rig) {
			r.primaryWith(5)
			r.after(time.Second).do(MACMoved{}, "announce 5")
			r.after(10*time.Millisecond).do(MACMoved{}, "")
			r.after(80*time.Millisecond).do(MACMoved{}, "")
			r.after(9*time.Millisecond).do(Woke{}, "")
			r.after(time.Millisecond).do(Woke{}, "announce 5") // the last one counts
			r.after(time.Second).do(Woke{}, "")
		},
		"a MAC is announced without an address": func(r *rig) {
			r.backupFirst()
			r.do(MACMoved{}, "")
			r.do(primary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply")
			r.do(done, "publish 5")
			r.do(MACMoved{}, "")
		},
		"a MAC is announced after the mute": func(r *rig) {
			r.primaryWith(5)
			r.do(MACMoved{}, "") // put off: the first one has just begun
			r.do(backup(3), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.after(announceSpacing).do(Woke{}, "")
			r.do(MACMoved{}, "")
		},
		"the carrier is back, and nothing is announced": func(r *rig) {
			l := r.primaryWith(5)
			without := seen(l)
			without.Carrier = false
			r.after(time.Second).do(KernelChanged{CarrierLost: true}, "glance")
			r.do(Done{Observed: without}, "carrier false; apply 5")
			r.do(done, "")
			r.after(time.Second).do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen(l)}, "carrier true; announce 5; apply 5")
			r.do(done, "")
		},
		"a short loss of carrier is not announced": func(r *rig) {
			l := r.primaryWith(5)
			r.after(time.Second).do(KernelChanged{CarrierLost: true}, "glance")
			r.do(Done{Observed: seen(l)}, "carrier true; announce 5; apply 5")
			r.do(done, "")
		},
		"a link that is down has a carrier": func(r *rig) {
			l := r.primaryWith(5)
			o := seen(l)
			o.Up = false
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: o}, "carrier false; apply 5")
		},
		"a failed Apply counts as held": func(r *rig) {
			r.primaryWith(5)
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seenNothing}, "carrier false; apply 5")
			r.do(failed, "")
			if s := r.m.State(); s.Settled || s.Held || len(s.Problems) != 1 {
				r.t.Errorf("%+v", s)
			}
			// The gate was opened before: what was there may come back at once.
			r.after(healSoonest).do(Woke{}, "apply 5")
			r.do(created, "announce 5; publish 5")
		},
		"an expired lease is applied": func(r *rig) {
			r.primaryWith(5)
			r.after(time.Hour).do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply")
			r.do(done, "stopannouncing")
			if r.m.State().Settled {
				r.t.Error("settled without an address")
			}
		},
		"linger is cut short when the role comes and goes": func(r *rig) {
			l := r.mutedWith(5)
			r.after(time.Second).do(primary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "")
			r.after(500*time.Millisecond).do(backup(5), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.after(time.Second).do(Woke{}, "")
			r.after(time.Second).do(Woke{}, "purge")
		},
		"the deletion of a lingering link goes on under a new primary": func(r *rig) {
			l := r.mutedWith(5)
			r.do(openPrimary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "apply 5")
			r.do(unmuted, "announce 5; startdhcp")
			r.do(done, "")
			r.after(2*time.Second).do(Woke{}, "")
		},
		"a diagnosis is not shown": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			if s := r.m.State(); !strings.Contains(s.Problems[0], "no answer so far") {
				r.t.Errorf("%+v", s)
			}
			r.do(LeaseChanged{dhcp.Update{State: dhcp.Selecting, Diagnosis: dhcp.NoAnswer}}, "")
			if s := r.m.State(); s.WAN.Diagnosis == "" || !strings.Contains(s.Problems[0], dhcp.NoAnswer.Text()) {
				r.t.Errorf("%+v", s)
			}
		},
		"the gateway's answer is not shown, or outlives its lease": func(r *rig) {
			r.primaryWith(5)
			r.do(GatewayProbed{hooks.Reach{Reachable: true}}, "")
			if s := r.m.State(); s.WAN.Gatewayed == nil || !s.WAN.Gatewayed.Reachable {
				r.t.Errorf("%+v", s)
			}
			r.do(backup(3), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.do(GatewayProbed{hooks.Reach{Reachable: true}}, "") // one that was on its way
			r.after(5*time.Second).do(Woke{}, "purge")
			r.do(done, "")
			r.promoted(4, 5)
			if s := r.m.State(); s.WAN.Gatewayed != nil {
				r.t.Errorf("%+v", s)
			}
		},
		"a repair that never ends grows": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			for range 100 {
				r.do(failed, "")
				r.after(healLatest).do(Woke{}, "apply")
			}
			if n := len(r.m.State().Phases); n != 32 {
				r.t.Errorf("%d phases", n)
			}
		},
	} {
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
	want := []hooks.Phase{
		{Name: hooks.PhaseMacvlan, Detail: "wan on eth2", Took: time.Millisecond, At: time.Millisecond},
		{Name: hooks.PhaseLease, Detail: "192.0.2.5/24 from 192.0.2.1", Took: 5 * time.Millisecond, At: 5 * time.Millisecond},
		{Name: hooks.PhaseAddress, Detail: "192.0.2.5/24", Took: 2 * time.Millisecond, At: 7 * time.Millisecond},
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
	want = []hooks.Phase{
		{Name: hooks.PhaseSilent, Detail: "wan"},
		{Name: hooks.PhaseDeleted, Detail: "wan", Took: time.Second, At: time.Second},
	}
	if got := r.m.State().Phases; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
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
		w := Refreshed(hooks.WAN{}, l, time.Hour+c.after)
		if got := [3]int64{w.LeaseSeconds, w.LeaseTotal, w.RenewSeconds}; got != c.want {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
	l.TTL = dhcp.Infinite
	if w := Refreshed(hooks.WAN{}, l, time.Hour); w.LeaseSeconds != -1 || w.LeaseTotal != -1 {
		t.Errorf("%+v", w)
	}
	if w := Refreshed(hooks.WAN{}, nil, time.Hour); w.LeaseSeconds != 0 {
		t.Errorf("%+v", w)
	}
}
