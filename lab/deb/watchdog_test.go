package deb

import (
	"testing"
	"time"
)

// TestWatchdog: a keeper that hangs is killed and started anew by systemd, and the
// WAN is not touched; one that a loaded machine delays is left alone.
func TestWatchdog(t *testing.T) {
	w := build(t, 90*time.Second)
	r := w.l.Router(0)
	w.install(r, older)
	w.configure(r)
	show := func(property string) string {
		return w.run(r, "systemctl", "show", "--property="+property, "--value", "wanfail")
	}
	if got := show("WatchdogUSec"); got != "30s" {
		t.Errorf("the unit's watchdog waits %s", got)
	}
	w.must(r.WriteFile("/etc/systemd/system/wanfail.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n", 0o644))
	w.run(r, "systemctl", "daemon-reload")
	w.run(r, "systemctl", "restart", "wanfail")
	w.run(r, "wanfail", "primary")
	addr := w.isPrimary(r)
	link, err := r.Link("wan")
	w.must(err)

	w.run(r, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do timeout 7 sh -c 'while :; do :; done' & done; wait; true")
	if got := show("NRestarts"); got != "0" {
		t.Fatalf("on a busy machine systemd has restarted the keeper %s times", got)
	}
	before := show("MainPID")
	w.run(r, "systemctl", "kill", "--kill-who=main", "--signal=SIGSTOP", "wanfail")
	w.eventually("another keeper", func() (bool, error) {
		return show("NRestarts") == "1" && show("ActiveState") == "active" && show("MainPID") != before, nil
	})
	if now := w.isPrimary(r); now != addr {
		t.Errorf("the address was %s and is %s", addr, now)
	}
	if again, err := r.Link("wan"); err != nil || again == nil || again.Attrs().Index != link.Attrs().Index {
		t.Errorf("the WAN was made anew: %v", err)
	}
}
