//go:build systemd_e2e

// Package e2e drives the systemd that runs the machine. It is for a machine made
// for the purpose: lab/deb builds it and runs it on a router.
package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wanfail/wanfail/services"
)

// units are written to /run and gone with the machine.
var units = map[string]string{
	"we-plain":   "[Service]\nExecStart=/bin/sleep 1000\n",
	"we-notify":  "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'sleep 0.3; systemd-notify --ready; exec sleep 1000'\n",
	"we-fork":    "[Unit]\nAfter=we-plain.service\n[Service]\nType=forking\nExecStart=/bin/sh -c 'sleep 1000 & exit 0'\n",
	"we-fails":   "[Service]\nType=notify\nExecStart=/bin/sh -c 'exit 3'\n",
	"we-pre":     "[Service]\nExecStartPre=/bin/true\nExecStartPre=/bin/sh -c 'exit 5'\nExecStart=/bin/sleep 1000\n",
	"we-dies":    "[Service]\nExecStart=/bin/sh -c 'sleep 0.005; exit 4'\n",
	"we-crashes": "[Service]\nRestart=always\nRestartSec=1000\nExecStart=/bin/sh -c 'test -e /run/we-cured && exec sleep 1000; exit 1'\n",
	"we-never":   "[Unit]\nConditionPathExists=/nonexistent\n[Service]\nExecStart=/bin/sleep 1000\n",
	"we-slow":    "[Service]\nType=notify\nTimeoutStartSec=100\nExecStart=/bin/sleep 1000\n",
	"we-stub": "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStopSec=1\n" +
		"ExecStart=/bin/sh -c 'trap \"\" TERM; systemd-notify --ready; while :; do sleep 1; done'\n",
	"we-loops": "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=100\n[Service]\nRestart=always\nRestartSec=10ms\nExecStart=/bin/false\n" +
		"[Install]\nWantedBy=multi-user.target\n",
	"we-typo": "[Service]\nType=nonsense\nExecStart=\n",
}

func TestMain(m *testing.M) {
	for name, text := range units {
		if err := os.WriteFile(filepath.Join("/run/systemd/system", name+".service"), []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if out, err := exec.Command("systemctl", "mask", "--runtime", "we-masked.service").CombinedOutput(); err != nil {
		fmt.Fprintln(os.Stderr, err, string(out))
		os.Exit(1)
	}
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		fmt.Fprintln(os.Stderr, err, string(out))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func manager(t *testing.T) services.Manager {
	t.Helper()
	m, err := services.Detect(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if m.Backend() != "systemd" {
		t.Fatalf("backend %s", m.Backend())
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func systemctl(t *testing.T, arg ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", arg...).CombinedOutput()
	if err != nil && arg[0] != "is-active" {
		t.Fatalf("systemctl %v: %v: %s", arg, err, out)
	}
	return strings.TrimSpace(string(out))
}

func pid(t *testing.T, name string) string {
	t.Helper()
	return systemctl(t, "show", "-P", "MainPID", name)
}

func one(t *testing.T, m services.Manager, name string, up bool, limit time.Duration) services.Result {
	t.Helper()
	return services.Converge(t.Context(), m, []string{name}, up, limit)[0]
}

func want(t *testing.T, r services.Result, changed bool, problem string) {
	t.Helper()
	if r.Changed != changed {
		t.Errorf("%s: changed %v after %v: %v", r.Name, r.Changed, r.Took, r.Err)
	}
	if problem == "" && r.Err != nil || problem != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), problem)) {
		t.Errorf("%s: error %v, want %q", r.Name, r.Err, problem)
	}
}

func TestConverge(t *testing.T) {
	m := manager(t)
	names := []string{"we-plain", "we-notify.service", "we-fork"}
	start := time.Now()
	for _, r := range services.Converge(t.Context(), m, names, true, 10*time.Second) {
		want(t, r, true, "")
		t.Logf("start %s: %v", r.Name, r.Took)
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 2*time.Second {
		t.Errorf("took %v: the slowest takes 0.3 s", took)
	}
	for _, name := range names {
		if s := systemctl(t, "is-active", name); s != "active" {
			t.Errorf("%s is %s", name, s)
		}
	}
	was := pid(t, "we-notify")
	start = time.Now()
	for _, r := range services.Converge(t.Context(), m, names, true, 10*time.Second) {
		want(t, r, false, "")
	}
	t.Logf("a look at %d services: %v", len(names), time.Since(start))
	if now := pid(t, "we-notify"); now != was {
		t.Errorf("pid was %s, is %s", was, now)
	}
	for _, r := range services.Converge(t.Context(), m, names, false, 10*time.Second) {
		want(t, r, true, "")
	}
	for _, name := range names {
		if s := systemctl(t, "is-active", name); s != "inactive" {
			t.Errorf("%s is %s", name, s)
		}
	}
}

func TestFailures(t *testing.T) {
	m := manager(t)
	for name, problem := range map[string]string{
		"we-fails": "exit-code 3", "we-dies": "exit-code 4", "we-pre": "exit-code 5 of ExecStartPre /bin/sh", "we-never": "a condition of the unit is not met", "we-masked": "systemctl unmask we-masked.service",
		"we-absent": "not installed", "we-typo": "bad-setting",
	} {
		want(t, one(t, m, name, true, 5*time.Second), false, problem)
	}
	want(t, one(t, m, "we-fails", false, 5*time.Second), false, "")
	want(t, one(t, m, "we-masked", false, 5*time.Second), false, "")
	for name, there := range map[string]bool{"we-plain": true, "we-absent": false, "we-masked": false} {
		if got, err := m.Installed(t.Context(), name); err != nil || got != there {
			t.Errorf("Installed(%s) = %v, %v", name, got, err)
		}
	}
}

// What a boot starts, and what systemd has given up.
func TestInspect(t *testing.T) {
	m := manager(t).(services.Inspector)
	inspect := func(name string) services.Details {
		t.Helper()
		d, err := m.Inspect(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := inspect("we-absent"); d != (services.Details{}) {
		t.Errorf("absent: %+v", d)
	}
	systemctl(t, "start", "we-plain")
	d := inspect("we-plain")
	if want := pid(t, "we-plain"); fmt.Sprint(d.PID) != want || !d.Installed || d.State != services.Running || d.Failure != "" {
		t.Errorf("running: %+v, want pid %s", d, want)
	}
	systemctl(t, "stop", "we-plain")
	if d := inspect("we-loops"); d.AtBoot || d.Failure != "" {
		t.Errorf("disabled: %+v", d)
	}
	systemctl(t, "enable", "--runtime", "we-loops")
	if d := inspect("we-loops"); d.AtBoot {
		t.Errorf("enabled until the next boot: %+v", d)
	}
	if d := inspect("systemd-journald"); !d.AtBoot || d.State != services.Running {
		t.Errorf("a unit of systemd's own: %+v", d)
	}
	_ = exec.Command("systemctl", "start", "we-loops").Run()
	for end := time.Now().Add(10 * time.Second); systemctl(t, "is-active", "we-loops") != "failed"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("systemd does not give it up")
		}
	}
	if d := inspect("we-loops"); !strings.Contains(d.Failure, "it has failed (exit-code) and systemd does not start it again") && !strings.Contains(d.Failure, "start-limit-hit") {
		t.Errorf("given up: %+v", d)
	}
}

// Five starts in ten seconds are systemd's limit, and not ours.
func TestManyFailovers(t *testing.T) {
	m := manager(t)
	for range 8 {
		want(t, one(t, m, "we-plain", true, 5*time.Second), true, "")
		want(t, one(t, m, "we-plain", false, 5*time.Second), true, "")
	}
}

// A service in its RestartSec pause is neither up nor down.
func TestAutoRestart(t *testing.T) {
	m := manager(t)
	_ = exec.Command("systemctl", "start", "we-crashes").Run()
	for systemctl(t, "show", "-P", "SubState", "we-crashes") != "auto-restart" {
		time.Sleep(10 * time.Millisecond)
	}
	if s, err := m.State(t.Context(), "we-crashes"); err != nil || s != services.Starting {
		t.Errorf("state %v, %v", s, err)
	}
	if err := os.WriteFile("/run/we-cured", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, one(t, m, "we-crashes", true, 5*time.Second), true, "") // well before 1000 s
	want(t, one(t, m, "we-crashes", false, 5*time.Second), true, "")
}

func TestStopThatTakesAKill(t *testing.T) {
	m := manager(t)
	want(t, one(t, m, "we-stub", true, 5*time.Second), true, "")
	r := one(t, m, "we-stub", false, 10*time.Second)
	// systemd calls that a failure of the unit; it is stopped all the same.
	want(t, r, true, "")
	if r.Took < 900*time.Millisecond {
		t.Errorf("took %v", r.Took)
	}
}

// The newest order wins over one that is under way, at once.
func TestCancelledStart(t *testing.T) {
	m := manager(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan services.Result)
	go func() { done <- services.Converge(ctx, m, []string{"we-slow"}, true, time.Minute)[0] }()
	for systemctl(t, "is-active", "we-slow") != "activating" {
		time.Sleep(10 * time.Millisecond)
	}
	start := time.Now()
	cancel()
	if r := <-done; r.Err == nil || time.Since(start) > 100*time.Millisecond {
		t.Errorf("%v after %v", r.Err, time.Since(start))
	}
	want(t, one(t, m, "we-slow", false, 5*time.Second), true, "")
	want(t, one(t, m, "we-slow", true, 300*time.Millisecond), false, "not running within 300ms")
	want(t, one(t, m, "we-slow", false, 5*time.Second), true, "")
}

// daemon-reexec breaks the connection in the middle of a start.
func TestReexec(t *testing.T) {
	m := manager(t)
	done := make(chan services.Result)
	go func() { done <- one(t, m, "we-notify", true, 20*time.Second) }()
	time.Sleep(50 * time.Millisecond)
	systemctl(t, "daemon-reexec")
	want(t, <-done, true, "")
	systemctl(t, "daemon-reexec")
	want(t, one(t, m, "we-notify", false, 20*time.Second), true, "")
}

func TestWatch(t *testing.T) {
	m := manager(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := m.(interface {
		Watch(ctx context.Context, names []string) (<-chan string, error)
	})
	names := []string{"we-plain", "we-fork"}
	changes, err := w.Watch(ctx, names)
	if err != nil {
		t.Fatal(err)
	}
	// As the keeper does: each change is a reason to ask for all states. For an
	// unloaded unit (we-fork) that makes systemd load it, and say anew what is known
	// of the unit that it comes after (we-plain); that must not be a change again.
	settle := func() (n int) {
		for {
			select {
			case <-changes:
				for _, name := range names {
					if _, err := m.State(ctx, name); err != nil {
						t.Fatal(err)
					}
				}
				n++
			case <-time.After(300 * time.Millisecond):
				return n
			}
		}
	}
	if n := settle(); n > 0 {
		t.Errorf("told %d times without cause", n)
	}
	systemctl(t, "start", "we-notify")
	systemctl(t, "stop", "we-notify")
	if n := settle(); n > 0 {
		t.Errorf("told %d times of another unit", n)
	}
	for _, verb := range []string{"start", "restart", "stop"} {
		start := time.Now()
		go func() { _ = exec.Command("systemctl", verb, "we-plain").Run() }()
		select {
		case name := <-changes:
			if name != "we-plain" {
				t.Errorf("told of %s", name)
			}
			t.Logf("told of %s after %v", verb, time.Since(start))
		case <-time.After(2 * time.Second):
			t.Fatalf("not told of %s", verb)
		}
		if n := settle(); n > 20 {
			t.Errorf("told %d times of one %s", n, verb)
		}
	}
	systemctl(t, "start", "we-plain")
	settle()
	if err := exec.Command("kill", "-9", pid(t, "we-plain")).Run(); err != nil {
		t.Fatal(err)
	}
	if n := settle(); n == 0 {
		t.Error("not told of a crash")
	}
	systemctl(t, "daemon-reexec")
	if n := settle(); n < 2 {
		t.Errorf("told %d times after a reexec, want both names", n)
	}
	systemctl(t, "start", "we-fork")
	if n := settle(); n == 0 {
		t.Error("not told after the reexec")
	}
	systemctl(t, "stop", "we-fork")
}
