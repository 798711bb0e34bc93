//go:build !nosystemd

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// fakeManager is a manager that talks to a fake systemd.
func fakeManager(t *testing.T) (*systemd, *fakeSystemd) {
	t.Helper()
	f := newFakeSystemd(t)
	s := newSystemd(f.socket, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		_ = s.Close()
		f.reexec()
		goleak.VerifyNone(t)
	})
	return s, f
}

func TestSystemdConverge(t *testing.T) {
	s, f := fakeManager(t)
	f.add("early.service", "inactive") // its job ends before the call returns
	f.add("late.service", "inactive").took = 20 * time.Millisecond
	f.add("up.service", "active")
	names := []string{"early", "late", "up.service"}
	for _, r := range Converge(t.Context(), s, names, true, time.Second) {
		check(t, r, r.Name != "up.service", "")
	}
	f.called()
	for _, r := range Converge(t.Context(), s, names, true, time.Second) {
		check(t, r, false, "")
	}
	if calls := f.called(); len(calls) > 0 {
		t.Errorf("idempotent, but called %v", calls)
	}
	for _, r := range Converge(t.Context(), s, names, false, time.Second) {
		check(t, r, true, "")
	}
	for _, r := range Converge(t.Context(), s, names, false, time.Second) {
		check(t, r, false, "")
	}
}

func TestSystemdStartsFromEveryState(t *testing.T) {
	for _, c := range []struct {
		active, sub, job string
		up, down         []string // the calls
	}{
		{active: "inactive", up: []string{"ResetFailedUnit", "StartUnit"}},
		{active: "failed", up: []string{"ResetFailedUnit", "StartUnit"}},
		{active: "active", down: []string{"StopUnit"}},
		{active: "reloading", down: []string{"StopUnit"}},
		{active: "deactivating", up: []string{"ResetFailedUnit", "StartUnit"}, down: []string{"StopUnit"}},
		{active: "activating", up: []string{"ResetFailedUnit", "StartUnit"}, down: []string{"StopUnit"}},
		{active: "activating", sub: "auto-restart", up: []string{"ResetFailedUnit", "RestartUnit"}, down: []string{"StopUnit"}},
		// Queued behind something else: not yet up, and not down for long.
		{active: "inactive", job: "start", up: []string{"ResetFailedUnit", "StartUnit"}, down: []string{"StopUnit"}},
		{active: "active", job: "stop", up: []string{"ResetFailedUnit", "StartUnit"}, down: []string{"StopUnit"}},
		{active: "active", job: "restart", down: []string{"StopUnit"}},
	} {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %s job %s up %v", c.active, c.sub, c.job, up), func(t *testing.T) {
				s, f := fakeManager(t)
				u := f.add("d.service", c.active)
				u.SubState = c.sub
				if c.job != "" {
					u.JobId, u.JobType, u.JobPath = 99, c.job, "/org/freedesktop/systemd1/job/99"
				}
				want := c.down
				if up {
					want = c.up
				}
				check(t, Converge(t.Context(), s, []string{"d"}, up, time.Second)[0], len(want) > 0, "")
				if calls := f.called(); !slices.Equal(calls, want) {
					t.Errorf("called %v, want %v", calls, want)
				}
			})
		}
	}
}

func TestSystemdFailures(t *testing.T) {
	s, f := fakeManager(t)
	f.add("masked.service", "inactive").LoadState = "masked"
	f.add("typo.service", "inactive").LoadState = "bad-setting"
	dies := f.add("dies.service", "inactive")
	dies.result, dies.after, dies.props = "failed", "failed", map[string]any{"Result": "exit-code", "ExecMainStatus": int32(2)}
	pre := f.add("pre.service", "inactive")
	pre.result, pre.after = "failed", "failed"
	pre.props = map[string]any{"Result": "exit-code", "ExecMainStatus": int32(0), "ExecStartPre": []fakeExec{
		{Path: "/bin/true", Argv: []string{"true"}, Code: 1},
		{Path: "/bin/no", Argv: []string{"no"}, Ignore: true, Code: 1, Status: 7},
		{Path: "/usr/bin/test", Argv: []string{"test", "-e", "/x"}, Code: 1, Status: 3},
	}, "ExecStartPost": []fakeExec{}}
	cond := f.add("condition.service", "inactive")
	cond.after, cond.props = "inactive", map[string]any{"ConditionResult": false}
	replaced := f.add("replaced.service", "inactive")
	replaced.result, replaced.after = "canceled", "inactive"
	crashes := f.add("crashes.service", "inactive") // Type=simple: the job is done, the process too
	crashes.after = "activating"
	gone := f.add("gone.service", "active") // its package was removed while it runs
	gone.LoadState = "not-found"
	for name, problem := range map[string]string{
		"masked": "systemctl unmask masked.service", "typo": "bad-setting", "absent": "absent.service is not installed",
		"dies": "exit-code 2", "pre": "exit-code 3 of ExecStartPre /usr/bin/test", "condition": "a condition of the unit is not met", "replaced": "somebody else's request",
		"crashes": "activating", "a/b": "service name",
	} {
		check(t, Converge(t.Context(), s, []string{name}, true, time.Second)[0], false, problem)
	}
	check(t, Converge(t.Context(), s, []string{"gone"}, false, time.Second)[0], true, "")
	check(t, Converge(t.Context(), s, []string{"masked"}, false, time.Second)[0], false, "")
	for name, want := range map[string]bool{"masked": false, "absent": false, "dies": true} {
		if there, err := s.Installed(t.Context(), name); err != nil || there != want {
			t.Errorf("Installed(%s) = %v, %v", name, there, err)
		}
	}
}

// Of a service without readiness systemd says that it runs when its program does. A
// program that dies of its configuration takes some milliseconds for that.
func TestSystemdDiesAtOnce(t *testing.T) {
	s, f := fakeManager(t)
	for name, kind := range map[string]string{"simple": "simple", "exec": "exec", "ready": "notify"} {
		u := f.add(name+".service", "inactive")
		u.dies, u.props = 5*time.Millisecond, map[string]any{"Type": kind, "Result": "exit-code", "ExecMainStatus": int32(4)}
	}
	f.add("lives.service", "inactive").props = map[string]any{"Type": "simple"}
	check(t, Converge(t.Context(), s, []string{"simple"}, true, time.Second)[0], false, "simple.service is failed (x, exit-code 4)")
	check(t, Converge(t.Context(), s, []string{"exec"}, true, time.Second)[0], false, "exit-code 4")
	check(t, Converge(t.Context(), s, []string{"lives"}, true, time.Second)[0], true, "")
	check(t, Converge(t.Context(), s, []string{"ready"}, true, time.Second)[0], true, "") // it had said so
}

func TestSystemdJobThatDoesNotEnd(t *testing.T) {
	s, f := fakeManager(t)
	f.add("hangs.service", "inactive").hangs = true
	f.add("d.service", "inactive")
	results := Converge(t.Context(), s, []string{"hangs", "d"}, true, 100*time.Millisecond)
	check(t, results[0], false, "not running within 100ms")
	check(t, results[1], true, "")

	newer := errors.New("a newer intent")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(newer) })
	start := time.Now()
	r := Converge(ctx, s, []string{"hangs"}, true, time.Minute)[0]
	if !errors.Is(r.Err, newer) || time.Since(start) > time.Second {
		t.Errorf("%v after %v", r.Err, time.Since(start))
	}
}

// daemon-reexec closes the socket for a moment; the job goes on.
func TestSystemdReexec(t *testing.T) {
	s, f := fakeManager(t)
	u := f.add("d.service", "inactive")
	u.hangs = true
	done := make(chan Result)
	go func() { done <- Converge(t.Context(), s, []string{"d"}, true, 5*time.Second)[0] }()
	for len(f.called()) < 1 {
		time.Sleep(time.Millisecond)
	}
	f.reexec()
	time.Sleep(30 * time.Millisecond) // systemd executes itself
	f.mu.Lock()
	u.hangs, u.took = false, 10*time.Millisecond
	f.mu.Unlock()
	f.listen()
	check(t, <-done, true, "")
}

func TestSystemdOutOfReach(t *testing.T) {
	s := newSystemd(t.TempDir()+"/private", slog.New(slog.DiscardHandler))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.State(ctx, "d"); err == nil || !strings.Contains(err.Error(), "reach systemd") {
		t.Errorf("error %v", err)
	}
}

func TestSystemdWatch(t *testing.T) {
	s, f := fakeManager(t)
	mine := f.add("mine.service", "inactive")
	f.add("other.service", "inactive")
	f.mu.Lock()
	f.units["alias.service"] = mine // as systemd answers for an alias
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := s.Watch(ctx, []string{"alias"})
	if err != nil {
		t.Fatal(err)
	}
	told := func(why string) {
		t.Helper()
		for {
			select {
			case name, ok := <-changes:
				if !ok || name != "alias" {
					t.Fatalf("%s: got %q, %v", why, name, ok)
				}
				return
			case <-time.After(2 * time.Second):
				t.Fatalf("%s: not told", why)
			}
		}
	}
	quiet := func() {
		t.Helper()
		for { // what is under way
			select {
			case <-changes:
				continue
			case <-time.After(50 * time.Millisecond):
			}
			return
		}
	}
	f.job("StartUnit", "other.service", "replace")
	select {
	case name := <-changes:
		t.Errorf("told of %s without cause", name)
	case <-time.After(50 * time.Millisecond):
	}
	f.mu.Lock()
	f.set(mine, "inactive") // sent again: another unit that depends on it was loaded
	f.mu.Unlock()
	select {
	case name := <-changes:
		t.Errorf("told of %s although it has not changed", name)
	case <-time.After(50 * time.Millisecond):
	}
	f.job("StartUnit", "mine.service", "replace")
	told("started behind our back")
	quiet()
	f.mu.Lock()
	f.set(mine, "failed")
	f.mu.Unlock()
	told("crashed")
	quiet()
	f.reexec()
	f.listen()
	told("connection lost and made anew")
	quiet()
	f.job("StopUnit", "mine.service", "replace")
	f.mu.Lock()
	f.set(mine, "active")
	f.mu.Unlock()
	told("after the new connection")
	cancel()
	for range changes { // closed
	}
	if _, err := s.Watch(t.Context(), []string{"a/b"}); err == nil {
		t.Error("watches an invalid name")
	}
}

func TestUnitName(t *testing.T) {
	for name, want := range map[string]string{
		"dnsmasq": "dnsmasq.service", "dnsmasq.service": "dnsmasq.service", "x.socket": "x.socket",
		"dnsmasq.lan": "dnsmasq.lan.service", "openvpn@a.b": "openvpn@a.b.service",
	} {
		if got, err := unitName(name); err != nil || got != want {
			t.Errorf("unitName(%s) = %s, %v", name, got, err)
		}
	}
}
