package keeper_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
)

// A service that somebody starts by hand on a backup is stopped at once, long
// after the last change, although no service manager tells of it.
func TestServiceStartedByHand(t *testing.T) {
	r := newRig(t, false)
	r.startKeeper()
	r.record(r.intent(intent.Primary))
	r.eventually("primary", 20*time.Second, func() bool { return r.settled(intent.Primary) })
	r.record(r.intent(intent.Backup))
	r.eventually("backup", 20*time.Second, func() bool { return r.settled(intent.Backup) })
	time.Sleep(12 * time.Second) // the watchful time after a change, in which the state is asked for each second
	start := time.Now()
	if err := exec.Command("/etc/init.d/alpha", "start").Run(); err != nil {
		t.Fatal(err)
	}
	r.eventually("stopped", 2*time.Second*slow, func() bool { return !r.serviceRuns("alpha") })
	t.Logf("stopped after %v", time.Since(start))
}
