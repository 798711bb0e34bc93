package deb

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestUnconfigured: a package that was just installed leaves the services of a
// router alone, and one that is purged leaves nothing.
func TestUnconfigured(t *testing.T) {
	w := build(t, 60*time.Second)
	r := w.l.Router(0)
	before := w.files(r)
	w.run(r, "systemctl", "start", "dnsmasq")
	dnsmasq := w.run(r, "systemctl", "show", "--property=MainPID", "--value", "dnsmasq")
	w.install(r, older)
	if got := w.run(r, "systemctl", "is-enabled", "wanfail"); got != "enabled" {
		t.Errorf("the service is %s", got)
	}
	if got := w.says(r, "systemctl", "is-active", "wanfail"); got != "inactive" {
		t.Errorf("without a configuration the service is %s", got)
	}
	if got := w.run(r, "systemctl", "show", "--property=Result", "--value", "wanfail"); got != "exec-condition" {
		t.Errorf("the service's result is %s", got)
	}
	w.install(r, newer)
	w.run(r, "wanfail", "--version")
	if got := w.run(r, "systemctl", "show", "--property=MainPID", "--value", "dnsmasq"); got != dnsmasq {
		t.Errorf("dnsmasq was %s and is %s", dnsmasq, got)
	}
	w.run(r, "dpkg", "--remove", "wanfail")
	if got := w.run(r, "systemctl", "show", "--property=MainPID", "--value", "dnsmasq"); got != dnsmasq {
		t.Errorf("after the removal: dnsmasq was %s and is %s", dnsmasq, got)
	}
	// Configured, but without a keepalived: a backup.
	w.install(r, older)
	w.configure(r)
	w.isBackup(r)
	w.eventually("a way out through the peer", func() (bool, error) {
		way := w.says(r, "ip", "-4", "route", "get", lab.InternetAddr.String())
		return strings.Contains(way, " via "+lab.VIP.Addr().String()+" "), nil
	})
	w.run(r, "dpkg", "--purge", "wanfail")
	w.run(r, "systemctl", "disable", "keepalived")
	w.sameFiles(r, before)
}

// sameFiles compares with an earlier list.
func (w *world) sameFiles(r *lab.Router, before []string) {
	w.Helper()
	after := w.files(r)
	for _, f := range after {
		if !slices.Contains(before, f) {
			w.Errorf("purge has left %s", f)
		}
	}
	for _, f := range before {
		if !slices.Contains(after, f) {
			w.Errorf("purge has taken %s", f)
		}
	}
	for _, dir := range []string{"/run/wanfail", "/var/lib/wanfail", "/etc/wanfail"} {
		if got := w.says(r, "ls", "-d", dir); !strings.Contains(got, "No such file") {
			w.Errorf("purge has left %s", got)
		}
	}
	if routes := w.run(r, "ip", "-4", "route", "show", "default"); routes != "" {
		w.Errorf("purge has left %s", routes)
	}
}

// TestLife is that of a pair of routers: installed, upgraded, restarted,
// rebooted in either role, removed.
func TestLife(t *testing.T) {
	w := build(t, 150*time.Second)
	before := w.files(w.l.Router(0))
	ar0, ar1 := w.elect(older)
	first := w.isPrimary(ar0)

	// One keeper goes, the next one takes over what it finds.
	pid := w.pid(ar0)
	w.unfelt("upgrade", func() { w.install(ar0, newer) })
	if now := w.pid(ar0); now == pid || now == "0" {
		t.Errorf("the keeper was process %s and is %s", pid, now)
	}
	if v, _ := w.field(ar0, "version").(string); v != "v"+newer {
		t.Errorf("the keeper says that it is %q", v)
	}
	if conf, err := ar0.ReadFile("/etc/wanfail.conf"); err != nil || conf != wanfailConf {
		t.Errorf("the configuration is now (%v) %q", err, conf)
	}
	w.isPrimary(ar0)
	pid = w.pid(ar0)
	w.unfelt("restart", func() { w.run(ar0, "systemctl", "restart", "wanfail") })
	if now := w.pid(ar0); now == pid || now == "0" {
		t.Errorf("the keeper was process %s and is %s", pid, now)
	}
	w.isPrimary(ar0)
	if got := w.field(ar0, "conntrackd"); got != "ok" {
		t.Errorf("in the service's sandbox, conntrackd is %v", got)
	}

	// The platform starts services of its own accord: now, and at each boot.
	_ = w.says(ar1, "systemctl", "start", "dnsmasq") // succeeds, or is cancelled in the middle
	w.eventually("the backup's dnsmasq is stopped again", func() (bool, error) {
		is, err := ar1.Running(w.ctx, "dnsmasq")
		return !is, err
	})
	w.run(ar1, "systemctl", "enable", "dnsmasq", "miniupnpd")

	sent, err := ar1.RecordSent()
	w.must(err)
	w.unfelt("reboot of the backup", func() { w.must(ar1.PowerOff(w.ctx)); w.must(ar1.Boot(w.ctx)) })
	w.isBackup(ar1)
	w.stays(ar1, 2*time.Second)
	if n, said, _ := sent.Frames(); n > 0 {
		t.Errorf("a backup that boots said %s", said)
	}
	w.must(sent.Close())

	// The master's last hook runs during its shutdown.
	w.handover(ar0, ar1, func() { w.must(ar0.PowerOff(w.ctx)) })
	w.must(ar0.Boot(w.ctx))
	if again := w.isPrimary(ar0); again != first {
		t.Errorf("the address was %s and is %s", first, again)
	}
	w.isBackup(ar1)
	w.must(ar0.Crash())
	w.isPrimary(ar1)
	w.must(ar0.Boot(w.ctx))
	w.isPrimary(ar0)
	w.isBackup(ar1)

	w.handover(ar0, ar1, func() { w.remove(ar0) })
	w.run(ar0, "dpkg", "--purge", "wanfail")
	w.run(ar0, "systemctl", "disable", "keepalived")
	w.sameFiles(ar0, before)
}

// handover does what makes another router primary, and checks that they never
// were both: the old one is silent before the new one says its first word.
func (w *world) handover(from, to *lab.Router, do func()) {
	w.Helper()
	w.handoverUntil(from, to, do, func() { w.isPrimary(to) })
}

func (w *world) handoverUntil(from, to *lab.Router, do, done func()) {
	w.Helper()
	old, err := from.RecordSent()
	w.must(err)
	successor, err := to.RecordSent()
	w.must(err)
	do()
	done()
	w.must(old.Close())
	w.must(successor.Close())
	n, first, _ := successor.Frames()
	if n == 0 {
		w.Errorf("%s sent nothing: this test captures nothing", to.Name)
	}
	if until := old.LastAt(); until.After(first.At) {
		w.Errorf("both routers transmitted with the shared MAC address for %v", until.Sub(first.At))
	}
}

// remove takes the package off a primary. The LAN stays keepalived's business:
// once it is stopped, the peer takes over.
func (w *world) remove(r *lab.Router) {
	w.Helper()
	out := w.run(r, "dpkg", "--remove", "wanfail")
	if link, err := r.Link("wan"); err != nil || link != nil {
		w.Errorf("the removed package has left the WAN (%v)", err)
	}
	for _, service := range []string{"dnsmasq", "miniupnpd"} {
		if running, err := r.Running(w.ctx, service); err != nil || running {
			w.Errorf("after the removal %s runs (%v)", service, err)
		}
	}
	if !strings.Contains(out, "systemctl stop keepalived") {
		w.Errorf("nobody says that keepalived goes on: %s", out)
	}
	if got := w.says(r, "systemctl", "is-active", "wanfail"); got != "inactive" {
		w.Errorf("after the removal the service is %s", got)
	}
	w.must(r.StopKeepalived(w.ctx))
}

// stays a backup for a while: there is no event for nothing.
func (w *world) stays(r *lab.Router, d time.Duration) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, d)
	defer cancel()
	err := lab.Eventually(ctx, "a service", func() (bool, error) {
		for _, service := range []string{"dnsmasq", "miniupnpd"} {
			if is, err := r.Running(w.ctx, service); err != nil || is {
				return true, err
			}
		}
		link, err := r.Link("wan")
		return link != nil, err
	})
	if ctx.Err() == nil {
		w.Errorf("%s does not stay backup: %v", r.Name, err)
	}
}
