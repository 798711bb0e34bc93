package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestFit: what a backup needs to become master, and what a boot would not bring,
// with the real systemd, keepalived and conntrackd. Each fault is told and makes
// the router unfit, or is only told, and is over when it is mended.
func TestFit(t *testing.T) {
	w := build(t, 90*time.Second, lab.Options{Conntrackd: true})
	w.shipped("keepalived-check.conf")
	ar0, ar1 := w.pair()
	sh := func(command string) {
		t.Helper()
		if out, err := ar1.Run(w.ctx, "sh", "-c", command); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	// is waits until check has that result.
	is := func(what string, code int, says string) {
		t.Helper()
		w.eventually(what+": check says "+says, func() (bool, error) {
			out, got := w.code(ar1, "wanfail", "check")
			return got == code && strings.Contains(out, says), nil
		})
	}
	warns := func(what, says string) {
		t.Helper()
		w.eventually(what+": status warns of "+says, func() (bool, error) {
			out, _ := ar1.Run(w.ctx, "wanfail", "status", "--json")
			_, warnings, _ := strings.Cut(out, `"warnings"`)
			return strings.Contains(warnings, says), nil
		})
	}
	fit := func() {
		t.Helper()
		is("all is well", 0, "backup, could be primary")
	}
	fit()

	sh("systemctl stop conntrackd")
	is("conntrackd is stopped", 1, "a failover to this router would lose the connections")
	warns("conntrackd is stopped", "conntrackd is not running")
	if out, code := w.code(ar1, "wanfail", "check", "--local"); code != 0 {
		t.Errorf("a master without the connections is better than none: check --local says %s", out)
	}
	sh("systemctl start conntrackd")
	is("conntrackd has just started", 1, "may not have the peer's connections yet")
	fit()

	sh("systemctl stop keepalived")
	is("keepalived is stopped", 1, "keepalived does not run: `systemctl start keepalived`")
	warns("keepalived is stopped", "until then this router cannot become master")
	sh("systemctl start keepalived")
	fit()

	// It dies too often for systemd.
	sh("mkdir -p /run/systemd/system/keepalived.service.d; printf '[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=3\\n[Service]\\nRestart=always\\nRestartSec=20ms\\n' >/run/systemd/system/keepalived.service.d/restart.conf; systemctl daemon-reload; systemctl reset-failed keepalived")
	sh("until [ $(systemctl is-active keepalived) = failed ]; do systemctl kill -s KILL keepalived; sleep 0.05; done")
	is("keepalived was given up", 1, "and systemd does not start it again")
	sh("rm -r /run/systemd/system/keepalived.service.d; systemctl daemon-reload; systemctl reset-failed keepalived; systemctl start keepalived")
	fit()

	// What matters only at a boot is reported, and makes no router unfit now.
	sh("systemctl enable keepalived conntrackd; systemctl disable keepalived")
	warns("keepalived is disabled", "keepalived is not started at boot, after which this router will not take part: `systemctl enable keepalived`")
	fit()
	sh("systemctl enable keepalived")
	w.eventually("no warning of a boot", func() (bool, error) {
		out, err := ar1.Run(w.ctx, "wanfail", "status")
		return !strings.Contains(out, "keepalived is not started at boot"), err
	})

	// keepalived tracks the port: FAULT is told, though nothing else is wrong.
	sh("ip link set dev eth2 down")
	is("FAULT", 1, "is in FAULT")
	warns("FAULT", "if the peer is not master either, nobody is")
	sh("ip link set dev eth2 up")
	fit()
	w.isPrimary(ar0)
}
