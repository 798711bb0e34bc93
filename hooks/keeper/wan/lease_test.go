package wan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
)

// Leases, and the client that gets them.
func TestLeases(t *testing.T) {
	faults(t, map[string]func(*rig){
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
			if s := r.m.State(); !strings.Contains(s.WAN.Error, "start DHCP client: ") || s.WAN.State != control.StateDown {
				r.t.Errorf("%+v", s)
			}
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
			r.do(o, "stopsending; release 5")
			r.do(failed, "canceldhcp; mute") // and silent all the same
			if s := r.m.State(); s.WAN.Error != errTest.Error() {
				r.t.Errorf("%+v", s)
			}
			r.do(done, "stopsending; publish nothing")
			if !slices.ContainsFunc(r.m.State().Phases, func(p control.Phase) bool { return p.Name == control.PhaseRelease && p.Error != "" }) {
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
		"the log knows for how long an earlier process held a lease": func(r *rig) {
			l := r.lease(5)
			r.do(Found{seen(l), l}, "")
			r.do(primary(1), "apply 5")
			r.do(done, "probe 5; startdhcp")
			r.do(done, "")
			r.after(time.Minute).do(LeaseChanged{dhcp.Update{State: dhcp.Init}}, "publish nothing; apply")
			r.do(done, "stopannouncing")
			if l := r.logged[len(r.logged)-1]; !strings.HasPrefix(l, "INFO lease lost") || strings.Contains(l, "held") {
				r.t.Errorf("logged %q", l)
			}
		},
		"a backup publishes a lease": func(r *rig) {
			r.mutedWith(5)
			r.do(Refresh{}, "publish nothing; glance")
			r.do(Done{Observed: seenMuted()}, "")
		},
		"what was published is not published again": func(r *rig) {
			l := r.primaryWith(5)
			r.after(time.Second).do(Refresh{}, "publish 5; glance")
			r.do(Done{Observed: seen(l)}, "carrier true; apply 5") // and is not announced
			r.do(done, "")
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
		"a gateway that falls silent puts the lease in no doubt": func(r *rig) {
			r.primaryWith(5)
			r.do(GatewayProbed{}, "") // it has never answered
			r.do(GatewayProbed{control.Reach{Reachable: true}}, "")
			r.do(GatewayProbed{control.Reach{Reachable: true}}, "")
			r.do(GatewayProbed{}, "confirmlease")
			r.do(GatewayProbed{}, "")
			r.do(GatewayProbed{control.Reach{Reachable: true}}, "")
			r.do(ClientEnded{}, "")
			r.do(GatewayProbed{}, "")
		},
		"a lease that the kernel refuses is not told of": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply 5")
			r.do(failed, "publish 5")
			if l := r.logged[len(r.logged)-1]; !strings.HasPrefix(l, "INFO lease bound") {
				r.t.Errorf("logged %q", l)
			}
		},
		"what is announced outlives its lease": func(r *rig) {
			r.primaryWith(5)
			r.do(MACMoved{"x"}, "") // put off: the first announcement has just begun
			r.do(LeaseChanged{dhcp.Update{State: dhcp.Init}}, "publish nothing; apply")
			r.do(done, "stopannouncing")
			if at := r.m.Wake(); at <= r.now+announceSpacing {
				r.t.Errorf("woken in %v", at-r.now)
			}
			r.do(bound(r.lease(5)), "apply 5")
			r.do(done, "probe 5; publish 5") // somebody left the address there
		},
		"the log tells for how long something else was so": func(r *rig) {
			r.primaryWith(5)
			r.after(time.Minute).do(bound(r.lease(5)), "apply 5")
			r.do(done, "publish 5")
			r.after(time.Minute).do(bound(r.lease(6)), "apply 6")
			r.do(added, "announce 6; publish 6")
			r.after(time.Second).do(LeaseChanged{dhcp.Update{State: dhcp.Init}}, "publish nothing; apply")
			r.do(done, "stopannouncing")
			for i, want := range []string{"DEBUG lease renewed", "INFO lease changed", "INFO lease lost"} {
				l := r.logged[len(r.logged)-3+i]
				if !strings.HasPrefix(l, want) || i == 1 && !strings.Contains(l, "2m0s") || i == 2 && !strings.HasSuffix(l, "held1s") {
					r.t.Errorf("logged %q, want %q", l, want)
				}
			}
		},
	})
}
