package wan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/netif"
)

// The way to backup.
func TestSilence(t *testing.T) {
	faults(t, map[string]func(*rig){
		"backup again mutes and deletes again": func(r *rig) {
			r.mutedWith(5)
			r.do(backup(4), "")
			r.after(1900*time.Millisecond).do(Woke{}, "")
			r.after(100*time.Millisecond).do(Woke{}, "purge")
			r.do(done, "")
			r.do(backup(5), "")
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
			if s := r.m.State(); s.Settled || s.WAN.Error == "" || s.WAN.State != control.StateStandby {
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
			if s := r.m.State(); !s.Settled || s.WAN.State != control.StateForeign || s.WAN.Error == "" {
				r.t.Errorf("%+v", s)
			}
			if at := r.m.Wake(); at != r.now+careful {
				r.t.Errorf("woken in %v", at-r.now)
			}
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
			r.do(Done{Deleted: true}, "")
			r.after(2*time.Second).do(Woke{}, "")
			if l := r.logged[len(r.logged)-1]; !strings.HasPrefix(l, "WARN something else changed") {
				r.t.Errorf("logged %q", l)
			}
		},
		"the deletion of a link that lingered belongs to the transition": func(r *rig) {
			r.mutedWith(5)
			r.after(2*time.Second).do(Woke{}, "purge")
			r.do(Done{Deleted: true}, "")
			if p := r.m.State().Phases; len(p) != 1 || p[0].Name != control.PhaseSilent {
				r.t.Errorf("%+v", p)
			}
		},
	})
}
