package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(script string) Command { return Command{Path: "/bin/sh", Args: []string{"-c", script}} }

func TestRun(t *testing.T) {
	c := shell("cat; echo $$ >&2")
	c.Stdin = "hello "
	out, err := c.Run(t.Context())
	pid, ok := strings.CutPrefix(out, "hello ")
	if err != nil || !ok {
		t.Fatal(out, err)
	}
	if _, err := os.Stat(filepath.Join("/proc", pid)); err == nil {
		t.Error("it was not reaped")
	}
	out, err = shell("echo why; exit 7").Run(t.Context())
	var exit *exec.ExitError
	if out != "why" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := (Command{Path: "/nonexistent"}).Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	// Nothing to read is end of file, not our own stdin.
	if out, err := shell("cat; echo end").Run(t.Context()); out != "end" || err != nil {
		t.Errorf("no input: %q, %v", out, err)
	}
	c.Args, c.Stdin = []string{"-c", "exit 0"}, strings.Repeat("x", 1<<20)
	if _, err := c.Run(t.Context()); err != nil {
		t.Errorf("input that nobody reads: %v", err)
	}
}

// A keeper with a high priority does not hand it on.
func TestRunDoesNotInheritPriority(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if out, err := shell(`nice >&2; until [ "$(nice)" = 0 ]; do :; done; echo child; nice`).Run(ctx); err != nil || !strings.HasSuffix(out, "child\n0") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestSettings(t *testing.T) {
	c := shell(`until [ "$(nice)" = 10 ]; do :; done; echo $X $HOME; nice`)
	c.Env, c.Nice = []string{"X=1"}, 10
	if out, err := c.Run(t.Context()); out != "1\n10" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	c = shell("head -c 300000 /dev/zero | tr '\\0' x")
	if out, err := c.Run(t.Context()); len(out) > maxOutput {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	c.Output = 1 << 20
	if out, err := c.Run(t.Context()); len(out) != 300000 || err != nil {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// What a program has started in its group ends with it, though it ignores SIGTERM.
func TestRunKillsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	out, err := shell(`sh -c 'trap "" TERM; while :; do sleep 1; done' & echo $!; sleep 300`).Run(ctx)
	if err == nil || out == "" {
		t.Fatalf("%q, %v", out, err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		raw, err := os.ReadFile(filepath.Join("/proc", out, "stat"))
		if err != nil || strings.Contains(string(raw), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %s lives on", out)
		}
	}
}

func TestRunKills(t *testing.T) {
	for name, script := range map[string]string{
		"sleeps":       "echo before; sleep 1000",
		"ignores TERM": "trap '' TERM; echo before; while :; do sleep 1; done",
	} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("too late"))
		start := time.Now()
		_, err := shell(script).Run(ctx)
		cancel()
		if took := time.Since(start); took > time.Second || err == nil ||
			!strings.Contains(err.Error(), `too late; it was killed: it said "before"`) {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		if _, err := shell(script).Run(ctx); err == nil {
			t.Errorf("%s: runs although its time is over", name)
		}
	}
}
