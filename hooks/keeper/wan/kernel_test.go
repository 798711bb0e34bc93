package wan

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/netif"
)

// What the kernel holds, refuses, or was made to hold by others.
func TestKernel(t *testing.T) {
	faults(t, map[string]func(*rig){
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
			r.do(done, "")
			if len(r.logged) != 2 || !strings.HasPrefix(r.logged[0], "ERROR WAN is not") || r.logged[1] != "DEBUG WAN is as it should be again" {
				r.t.Errorf("logged %q", r.logged) // each once, and nobody is blamed
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
			r.do(created, "startdhcp")
			r.do(done, "")
			if at := r.m.Wake(); at != r.now+careful {
				r.t.Errorf("woken in %v for a repair that is done", at-r.now)
			}
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
			if n := strings.Count(strings.Join(r.logged, "\n"), "WARN restored what was changed"); n != 2 {
				r.t.Errorf("logged %q", r.logged)
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
	})
}
