package wan

import (
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/netif"
)

// Announcements.
func TestAnnouncing(t *testing.T) {
	faults(t, map[string]func(*rig){
		"an unmuted address is not announced": func(r *rig) {
			l := r.mutedWith(5)
			r.do(openPrimary(4), "observe")
			r.do(Done{Observed: seenMuted(l), Remembered: l}, "apply 5")
			r.do(unmuted, "announce 5; startdhcp")
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
		"a changed gateway is not probed": func(r *rig) {
			r.primaryWith(5)
			l := r.lease(5)
			l.Gateway = l.Gateway.Next()
			r.do(bound(l), "apply 5")
			r.do(done, "probe 5; publish 5")
		},
		"a link with another MAC is adopted": func(r *rig) {
			l := r.lease(5)
			o := seen(l)
			o.Matches = false
			r.do(Found{o, l}, "")
			r.do(primary(1), "apply")
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
		"the gateway's answer is not shown, or outlives its lease": func(r *rig) {
			r.primaryWith(5)
			r.do(GatewayProbed{control.Reach{Reachable: true}}, "")
			if s := r.m.State(); s.WAN.Gatewayed == nil || !s.WAN.Gatewayed.Reachable {
				r.t.Errorf("%+v", s)
			}
			r.do(backup(3), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			r.do(GatewayProbed{control.Reach{Reachable: true}}, "") // one that was on its way
			r.after(5*time.Second).do(Woke{}, "purge")
			r.do(done, "")
			r.promoted(4, 5)
			if s := r.m.State(); s.WAN.Gatewayed != nil {
				r.t.Errorf("%+v", s)
			}
		},
	})
}
