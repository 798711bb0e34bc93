package wan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/wanfail/wanfail/netif"
)

func TestRefusedRoutes(t *testing.T) {
	faults(t, map[string]func(*rig){
		"a route that the kernel does not take keeps the WAN from its role": func(r *rig) {
			r.backupFirst()
			r.do(openPrimary(2), "apply")
			r.do(created, "startdhcp")
			r.do(done, "")
			r.do(bound(r.lease(5)), "apply 5")
			refused := added
			refused.Changes.Unusable = []netif.UnusableRoute{{Route: netif.Route{Dst: netip.MustParsePrefix("10.0.0.0/8")}, Err: errTest}}
			r.do(refused, "announce 5; publish 5")
			s := r.m.State()
			if want := "the lease's route 10.0.0.0/8 cannot be used: the kernel refuses"; !s.Settled || len(s.Problems) > 0 || s.WAN.Error != "" || !slices.Equal(s.Warnings, []string{want}) {
				r.t.Errorf("%+v", s)
			}
			if !slices.Contains(r.logged, "WARN the lease's route 10.0.0.0/8 cannot be used: the kernel refuses") {
				r.t.Errorf("logged %q", r.logged)
			}
			r.do(KernelChanged{}, "glance")
			r.do(Done{Observed: seen()}, "carrier true; apply 5")
			refused.Changes.Addr, refused.Changes.Steps = false, nil
			r.do(refused, "")
			r.do(backup(3), "canceldhcp; mute")
			r.do(done, "stopsending; publish nothing")
			if s := r.m.State(); len(s.Warnings) > 0 {
				r.t.Errorf("as backup: %q", s.Warnings)
			}
		},
	})
}
