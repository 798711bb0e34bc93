package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// silentWithin is the promise for the end of a master: no frame with the shared
// MAC address later than this.
const silentWithin = 100 * time.Millisecond

// transmitting makes the router a master that transmits all the time, and
// listens to it.
func (w *world) transmitting(r *lab.Router) *lab.Sent {
	w.Helper()
	w.startAlone(r)
	v, err := r.RecordSent()
	w.must(err)
	w.Cleanup(func() { w.must(v.Close()) })
	ping, err := w.l.Client.Start(w.ctx, "ping", "-q", "-i", "0.002", lab.InternetAddr.String())
	w.must(err)
	w.Cleanup(func() { ping.Stop(time.Second) })
	w.eventually("traffic", func() (bool, error) {
		n, _, _ := v.Frames()
		return n > 20, nil
	})
	return v
}

// startAlone makes a router the only one with keepalived, hence master.
func (w *world) startAlone(r *lab.Router) {
	w.Helper()
	w.must(r.StartKeepalived(w.ctx))
	w.isPrimary(r)
}

// quiet checks that nothing was said later than limit after since.
func (w *world) quiet(r *lab.Router, v *lab.Sent, since time.Time, limit time.Duration) {
	w.Helper()
	w.becomesBackup(r)
	last := v.LastAt()
	if late := last.Sub(since); late > limit {
		_, _, f := v.Frames()
		w.Errorf("%s transmitted until %v after: %s", r.Name, late, f)
	} else {
		w.Logf("%s was silent after %v", r.Name, late.Round(100*time.Microsecond))
	}
}

// becomesBackup is isBackup where no hook waited for the end of it.
func (w *world) becomesBackup(r *lab.Router) {
	w.Helper()
	w.eventually(r.Name+" says that its services are stopped", func() (bool, error) {
		s, err := r.Status(w.ctx)
		running := s.Role != "backup"
		for _, service := range s.Services {
			running = running || service.Running
		}
		return !running, err
	})
	w.isBackup(r)
}

// keepalivedConf changes the configuration before keepalived starts.
func (w *world) keepalivedConf(r *lab.Router, change func(string) string) {
	w.Helper()
	const path = "/etc/keepalived/keepalived.conf"
	text, err := r.ReadFile(path)
	w.must(err)
	changed := change(text)
	if changed == text {
		w.Fatalf("keepalived.conf is not as expected:\n%s", text)
	}
	w.must(r.WriteFile(path, changed, 0o644))
}

// withoutHooks leaves out the lines of a keepalived.conf that name hooks.
func withoutHooks(conf string) string {
	lines := slices.DeleteFunc(strings.Split(conf, "\n"), func(s string) bool { return strings.Contains(s, "notify_") })
	return strings.Join(lines, "\n")
}

// hookStart is when keepalived called the hook. One that is over within a few
// milliseconds may be missed.
func (w *world) hookStart(r *lab.Router, since time.Time, role string) time.Time {
	w.Helper()
	e, err := w.tl.Wait(w.ctx, since, lab.Is(r.Name, lab.KindHook, role))
	w.must(err)
	return e.At
}

// told waits until the router has on record what keepalived has said.
func (w *world) told(r *lab.Router, state string) {
	w.Helper()
	w.eventually(r.Name+" is told "+state, func() (bool, error) {
		text, _ := r.ReadFile("/run/wanfail/intent.json") // not there before the first word
		return strings.Contains(text, `"state":"`+state+`"`), nil
	})
}

// TestStopIsSilent: the administrator stops keepalived.
func TestStopIsSilent(t *testing.T) {
	for _, backend := range []lab.Backend{lab.Systemd, lab.Init} {
		t.Run(string(backend), func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{Backend: backend})
			r := w.l.Router(0)
			v := w.transmitting(r)
			since := time.Now()
			w.must(r.StopKeepalived(w.ctx))
			// What keepalived says right before it calls the hook.
			stop, err := w.tl.Wait(w.ctx, since, lab.Is(r.Name, lab.KindVRRP, "stop"))
			w.must(err)
			w.quiet(r, v, stop.At, silentWithin)
		})
	}
}

// TestStopHookIsKilled: the stop hook is killed at any point, or is none of ours at
// all. Then keepalived's end says the rest.
func TestStopHookIsKilled(t *testing.T) {
	w := build(t, 90*time.Second, lab.Options{})
	r := w.l.Router(0)
	w.must(r.WriteFile("/usr/local/sbin/short-life", "#!/bin/sh\n/usr/sbin/wanfail stop &\nsleep \"$1\"\nkill -9 $!\n", 0o755))
	original, err := r.ReadFile("/etc/keepalived/keepalived.conf")
	w.must(err)
	for i, life := range []string{"0", "0.002", "0.005", "0.01", "0.02", "0.04"} {
		t.Run(life, func(t *testing.T) {
			w := &world{T: t, l: w.l, tl: w.tl, ctx: w.ctx}
			w.must(r.WriteFile("/etc/keepalived/keepalived.conf",
				strings.Replace(original, `notify_stop "/usr/sbin/wanfail stop"`, fmt.Sprintf("notify_stop \"/usr/local/sbin/short-life %s\"", life), 1), 0o644))
			if i > 0 {
				w.run(r, "systemctl", "reset-failed", "keepalived") // so many starts in a row are suspicious
			}
			v := w.transmitting(r)
			stopped := time.Now()
			w.must(r.StopKeepalived(w.ctx))
			// The hook starts later than the command: the limit is the stricter for it.
			w.quiet(r, v, stopped, silentWithin+stopLatency)
		})
	}
}

// stopLatency is what systemd and keepalived need from the command until the
// stop hook runs.
const stopLatency = 100 * time.Millisecond

// TestKeepalivedDies: it exits without notifying, by SIGKILL to all of its processes.
func TestKeepalivedDies(t *testing.T) {
	for _, who := range []string{"all", "main"} {
		t.Run(who, func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{})
			r := w.l.Router(0)
			v := w.transmitting(r)
			pid := w.out(r, "systemctl", "show", "--property=MainPID", "--value", "keepalived")
			since := time.Now()
			if who == "all" {
				w.run(r, "systemctl", "kill", "--signal=KILL", "keepalived")
			} else {
				w.run(r, "kill", "-9", pid)
			}
			w.quiet(r, v, since, silentWithin)
		})
	}
}

func (w *world) out(r *lab.Router, name string, arg ...string) string {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	w.must(err)
	return strings.TrimSpace(out)
}

// TestReload: the WAN of an unchanged master is not touched, no packet of DHCP is
// sent, and no service restarted.
func TestReload(t *testing.T) {
	w := build(t, 40*time.Second, lab.Options{})
	r := w.l.Router(0)
	w.startAlone(r)
	pids := w.servicePIDs(r)
	since := time.Now()
	w.keepalivedConf(r, func(s string) string { return strings.Replace(s, "router_id ar0", "router_id other", 1) })
	w.run(r, "systemctl", "reload", "keepalived")
	w.eventually("keepalived has reloaded", func() (bool, error) {
		out, err := r.Run(w.ctx, "journalctl", "--no-pager", "-u", "keepalived")
		return strings.Contains(out, "Reload"), err
	})
	time.Sleep(time.Second) // nothing is to happen, for which there is no event
	for _, e := range w.tl.Events(since) {
		if e.Node == r.Name && (e.Kind == lab.KindLink || e.Kind == lab.KindAddr || e.Kind == lab.KindRoute || e.Kind == lab.KindDHCP || e.Kind == lab.KindService) {
			t.Errorf("a reload did this: %s", e)
		}
	}
	if now := w.servicePIDs(r); now != pids {
		t.Errorf("services were %s and are %s", pids, now)
	}
	w.isPrimary(r)
	// The process that reloaded is still watched.
	w.run(r, "systemctl", "kill", "--signal=KILL", "keepalived")
	w.becomesBackup(r)
}

// TestRestart of keepalived ends where it began.
func TestRestart(t *testing.T) {
	w := build(t, 40*time.Second, lab.Options{})
	r := w.l.Router(0)
	w.startAlone(r)
	for range 3 {
		w.run(r, "systemctl", "restart", "keepalived")
		w.eventually("master again", func() (bool, error) { return r.HoldsVIP() })
		w.isPrimary(r)
	}
	w.noRelease()
}

// TestServicesAtBoot: services that are enabled, and start only after the first
// backup hook, are stopped again. The other router stays master.
func TestServicesAtBoot(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	w.startAlone(ar1)
	w.must(ar0.Crash())
	w.must(ar0.WriteFile("/etc/systemd/system/late.service",
		"[Unit]\nAfter=wanfail.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'sleep 2; systemctl start --no-block dnsmasq miniupnpd; touch /run/late'\n[Install]\nWantedBy=multi-user.target\n", 0o644))
	w.must(ar0.Boot(w.ctx))
	w.run(ar0, "systemctl", "start", "--no-block", "late.service", "dnsmasq", "miniupnpd")
	w.eventually("the late ones are asked for", func() (bool, error) {
		_, err := ar0.Run(w.ctx, "test", "-e", "/run/late")
		return err == nil, nil
	})
	// The keeper may be quicker than the service, which then never gets to run: what
	// it did is in its log alone.
	w.eventually("the keeper has objected", func() (bool, error) {
		return strings.Contains(w.out(ar0, "journalctl", "--no-pager", "-u", "wanfail"), "service was not as its role wants"), nil
	})
	w.isBackup(ar0)
	w.isPrimary(ar1)
}

// TestFIFO drives a router through keepalived's FIFO instead of hooks.
func TestFIFO(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	for _, r := range []*lab.Router{ar0, ar1} {
		w.keepalivedConf(r, func(s string) string {
			return strings.Replace(withoutHooks(s), "script_user root",
				"script_user root\n    vrrp_notify_fifo /run/wanfail.fifo\n    vrrp_notify_fifo_script \"/usr/sbin/wanfail fifo\"", 1)
		})
	}
	v := w.transmitting(ar0)
	w.must(ar1.StartKeepalived(w.ctx))
	w.isBackup(ar1)
	since := time.Now()
	w.must(ar0.StopKeepalived(w.ctx))
	w.isPrimary(ar1)
	w.quiet(ar0, v, since, silentWithin+stopLatency)

	// A reload replaces the reader and leaves the WAN alone.
	reloaded := time.Now()
	reader := w.out(ar1, "pidof", "wanfail")
	w.run(ar1, "systemctl", "reload", "keepalived")
	w.eventually("keepalived has reloaded", func() (bool, error) {
		out, err := ar1.Run(w.ctx, "journalctl", "--no-pager", "-u", "keepalived")
		return strings.Contains(out, "Reload"), err
	})
	time.Sleep(1500 * time.Millisecond) // for what should not happen
	if e, touched := w.tl.First(reloaded, func(e lab.Event) bool { return e.Node == ar1.Name && e.Kind == lab.KindLink }); touched {
		t.Errorf("a reload did this: %s", e)
	}
	if now := w.out(ar1, "pidof", "wanfail"); now != reader {
		t.Logf("the reader was %s and is %s", reader, now)
	}
	w.isPrimary(ar1)

	w.must(ar0.StartKeepalived(w.ctx))
	w.isPrimary(ar0)
	w.becomesBackup(ar1)

	// And keepalived's death is still a word.
	w.run(ar0, "systemctl", "kill", "--signal=KILL", "keepalived")
	w.becomesBackup(ar0)
	w.isPrimary(ar1)

	// The reader is killed, and keepalived starts no other: the keeper reads in its
	// place, and nothing changes.
	killed := time.Now()
	w.run(ar1, "pkill", "-KILL", "-f", "wanfail fifo")
	w.eventually("the keeper reads the FIFO", func() (bool, error) {
		out, err := ar1.Run(w.ctx, "wanfail", "status")
		return strings.Contains(out, "until keepalived is reloaded"), err
	})
	w.isPrimary(ar1)
	if e, touched := w.tl.First(killed, func(e lab.Event) bool { return e.Node == ar1.Name && e.Kind == lab.KindLink }); touched {
		t.Errorf("the end of the reader did this: %s", e)
	}
	w.must(ar0.StartKeepalived(w.ctx))
	w.isPrimary(ar0)
	w.becomesBackup(ar1)
	w.run(ar1, "systemctl", "reload", "keepalived")
	w.must(ar0.StopKeepalived(w.ctx))
	w.isPrimary(ar1)
	w.noRelease()
}
