package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestStartupDelay: keepalived says nothing while vrrp_startup_delay lasts or a
// track script is pending, and the router is backup.
func TestStartupDelay(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"vrrp_startup_delay": func(s string) string {
			return strings.Replace(s, "script_user root", "script_user root\n    vrrp_startup_delay 2", 1)
		},
		"track script": func(s string) string {
			s = strings.Replace(s, "vrrp_instance VI_1 {", "vrrp_script slow {\n    script \"/bin/sleep 2\"\n    interval 60\n    timeout 10\n}\nvrrp_instance VI_1 {", 1)
			return strings.Replace(s, "virtual_ipaddress {", "track_script {\n        slow\n    }\n    virtual_ipaddress {", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{})
			r := w.l.Router(0)
			w.keepalivedConf(r, change)
			v, err := r.RecordSent()
			w.must(err)
			since := time.Now()
			w.must(r.StartKeepalived(w.ctx))
			first, err := w.tl.Wait(w.ctx, since, lab.Is(r.Name, lab.KindHook, "primary"))
			w.must(err)
			if after := first.At.Sub(since); after < 1500*time.Millisecond {
				t.Errorf("master after %v: nothing was delayed", after)
			}
			w.isPrimary(r)
			if n, f, _ := v.Frames(); n == 0 || f.At.Before(first.At) {
				t.Errorf("%d frames, the first %v after the hook: %s", n, f.At.Sub(first.At), f)
			}
			w.must(v.Close())
		})
	}
}

// TestNoPreempt: a router that returns stays backup.
func TestNoPreempt(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{NoPreempt: true})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	w.startAlone(ar0)
	w.must(ar1.StartKeepalived(w.ctx))
	w.must(ar0.StopKeepalived(w.ctx))
	w.isPrimary(ar1)
	v, err := ar0.RecordSent()
	w.must(err)
	w.must(ar0.StartKeepalived(w.ctx))
	w.told(ar0, "BACKUP")
	time.Sleep(time.Second) // for an election that must not come
	w.becomesBackup(ar0)
	w.isPrimary(ar1)
	if n, f, _ := v.Frames(); n > 0 {
		t.Errorf("a router that returned transmitted: %s", f)
	}
	w.must(v.Close())
}

// TestSyncGroup: a group and its instance both notify, with the generic hook.
// Each change is made once.
func TestSyncGroup(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	for _, r := range []*lab.Router{ar0, ar1} {
		w.keepalivedConf(r, func(s string) string {
			s = strings.Replace(withoutHooks(s), "virtual_ipaddress {",
				"notify \"/usr/sbin/wanfail notify\"\n    notify_stop \"/usr/sbin/wanfail stop\"\n    virtual_ipaddress {", 1)
			return strings.Replace(s, "vrrp_instance VI_1 {",
				"vrrp_sync_group VG {\n    group {\n        VI_1\n    }\n    notify \"/usr/sbin/wanfail notify\"\n}\nvrrp_instance VI_1 {", 1)
		})
	}
	w.startAlone(ar0)
	w.must(ar1.StartKeepalived(w.ctx))
	since := time.Now()
	w.must(ar0.StopKeepalived(w.ctx))
	w.isPrimary(ar1)
	w.becomesBackup(ar0)
	var discovers, links int
	for _, e := range w.tl.Events(since) {
		if e.Node == ar1.Name && e.Kind == lab.KindDHCP && e.Subject != "REQUEST" {
			discovers++
		}
		if e.Node == ar1.Name && e.Kind == lab.KindLink && e.Subject == "up" {
			links++
		}
	}
	if discovers > 1 || links != 1 {
		t.Errorf("the takeover took %d DHCP exchanges, and the link came up %d times", discovers, links)
	}
	log := w.out(ar1, "journalctl", "--no-pager", "-t", "wanfail")
	if n := strings.Count(log, `msg="is primary"`); n != 1 {
		t.Errorf("ar1 became primary %d times:\n%s", n, log)
	}
}
