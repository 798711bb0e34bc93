package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestFlapping: adverts are lost again and again, ar1 takes over and gives way, ten
// times in a few seconds. No session is lost, the master's entries are not
// replaced by older ones, and status says what to do.
func TestFlapping(t *testing.T) {
	w := build(t, 90*time.Second, lab.Options{Conntrackd: true})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	w.must(w.l.Elect(w.ctx))
	w.isPrimary(ar0)
	live := w.sessions()
	const times = 10
	for range times {
		w.loseAdverts(ar0)
		w.isPrimary(ar1)
		w.hearAdverts(ar0)
		// The next one comes while the mute link of this one lingers.
		w.status(ar1, "backup")
	}
	w.becomesBackup(ar1)
	w.isPrimary(ar0)
	live(time.Now())
	out := w.out(ar1, "wanfail", "status", "--json")
	if !strings.Contains(out, "the role changed ") || !strings.Contains(out, "vrrp_rt_priority") {
		t.Errorf("status of ar1 does not warn: %s", out)
	}
	if log := w.out(ar1, "journalctl", "--no-pager", "-u", "wanfail"); strings.Count(log, "the role changed ") != 1 {
		t.Errorf("the log of ar1 warns %d times", strings.Count(log, "the role changed "))
	}
	w.noRelease()
}
