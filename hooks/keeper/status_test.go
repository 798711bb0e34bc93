package keeper_test

import (
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// The very first report of a keeper names every WAN and every service; a service
// that is on its way is pending until it has arrived.
func TestStatusFromTheFirstMoment(t *testing.T) {
	w := newWorld(t)
	slow := func(d time.Duration) {
		w.services.mu.Lock()
		defer w.services.mu.Unlock()
		w.services.delay = d
	}
	expects := func(when string, r hooks.Report, pending, running bool) {
		t.Helper()
		if len(r.WANs) != 1 || r.WANs[0].Name != wanName || r.WANs[0].Parent != port || r.WANs[0].MAC != mac || r.WANs[0].State == "" {
			t.Errorf("%s: WANs %+v", when, r.WANs)
		}
		if len(r.Services) != 2 || r.Services[0].Name != "dnsmasq" || r.Services[1].Name != "miniupnpd" {
			t.Errorf("%s: services %+v", when, r.Services)
		}
		for _, s := range r.Services {
			if s.Backend != "fake" || s.Pending != pending || s.Running != running || s.Error != "" {
				t.Errorf("%s: %+v, want pending %v, running %v", when, s, pending, running)
			}
		}
	}
	settled := func() bool { r := w.status(); return !r.Services[0].Pending && !r.Services[1].Pending }

	stop := w.keeper()
	w.eventually("backup", 5*time.Second, settled)
	expects("backup", w.status(), false, false)
	slow(500 * time.Millisecond)
	w.say(w.intent(hooks.Primary), time.Millisecond)
	expects("on the way to primary", w.status(), true, false)
	w.eventually("primary", 5*time.Second, settled)
	expects("primary", w.status(), false, true)
	stop()

	for _, name := range []string{"dnsmasq", "miniupnpd"} {
		_ = w.services.Stop(t.Context(), name)
	}
	w.keeper()
	r := w.status()
	expects("the next keeper's first report", r, true, false)
	if r.Role != hooks.Primary || r.WANs[0].Role != hooks.Primary || !r.WANs[0].Address.IsValid() {
		t.Errorf("the next keeper's first report: %s, %+v", r.Role, r.WANs)
	}
	w.eventually("primary", 5*time.Second, settled)
	expects("primary again", w.status(), false, true)
}
