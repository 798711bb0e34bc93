package keeper

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// socket runs a server in a run directory of its own until the test ends.
func socket(t *testing.T, log *slog.Logger, handle func(context.Context, control.Request, func(any) error) error) rundir.Dir {
	t.Helper()
	base, err := os.MkdirTemp("/run", "server")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := rundir.At(base)
	l, err := dir.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { newServer(log, handle).serve(ctx, l) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return dir
}

func reports(_ context.Context, _ control.Request, answer func(any) error) error {
	return answer(control.Report{PID: 1, Version: "test"})
}

func asks(t *testing.T, dir rundir.Dir) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := control.Dial(ctx, dir)
	if err != nil {
		return err
	}
	defer c.Close()
	var r control.Report
	err = c.Ask(ctx, control.Request{Op: control.OpStatus}, &r)
	if err == nil && r.PID != 1 {
		t.Errorf("report %+v", r)
	}
	return err
}

// TestOnlyRootIsServed: where the file's mode lets a user connect, the keeper
// refuses, says so to the user, and once to the log.
func TestOnlyRootIsServed(t *testing.T) {
	var log bytes.Buffer
	handled := make(chan control.Request, 100)
	dir := socket(t, slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context, r control.Request, answer func(any) error) error {
		handled <- r
		return reports(ctx, r, answer)
	})
	if err := os.Chmod(dir.Path(rundir.SocketFile), 0o666); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread's user is another one now
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 1000, 1000, 1000); errno != 0 {
			t.Error(errno)
			return
		}
		for range 50 {
			err := asks(t, dir)
			if refused := (*control.RefusedError)(nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "only root may ask the keeper") || !strings.Contains(err.Error(), "uid 1000") {
				t.Errorf("got %v", err)
			}
		}
		// One that sends nothing, and one that reads nothing.
		for range 50 {
			c, err := net.Dial("unix", dir.Path(rundir.SocketFile))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
		}
	})
	wg.Wait()
	if err := asks(t, dir); err != nil {
		t.Errorf("root: %v", err)
	}
	if len(handled) != 1 {
		t.Errorf("%d requests were handled", len(handled))
	}
	if n := strings.Count(log.String(), "refused a caller"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, log.String())
	}
}

// TestRequestsAreBounded: what is no request gets an answer or the end of the
// connection, and costs the others nothing.
func TestRequestsAreBounded(t *testing.T) {
	dir := socket(t, slog.New(slog.DiscardHandler), reports)
	for name, c := range map[string]struct{ send, want string }{
		"not JSON":            {"hello\n", "malformed request"},
		"another type":        {"[]\n", "malformed request"},
		"nothing":             {"\n", "malformed request"},
		"too long":            {strings.Repeat("x", maxRequest+1), ""},
		"too long, with JSON": {`{"op":"` + strings.Repeat("x", maxRequest) + "\"}\n", ""},
		"deep":                {strings.Repeat("[", maxRequest-1) + "\n", "malformed request"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", dir.Path(rundir.SocketFile))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = conn.Write([]byte(c.send)) // the keeper may have hung up in the middle
			line, _ := bufio.NewReader(conn).ReadBytes('\n')
			var a control.Answer
			_ = json.Unmarshal(line, &a)
			if !strings.Contains(a.Error, c.want) || c.want == "" && len(line) > 0 {
				t.Errorf("answer %q", line)
			}
			if err := asks(t, dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSlowCallers: callers that send nothing, many times more than there are
// places, cost a bounded number of goroutines and a few seconds, no more.
func TestSlowCallers(t *testing.T) {
	dir := socket(t, slog.New(slog.DiscardHandler), reports)
	before := runtime.NumGoroutine()
	const flood = 2 * maxCallers
	for range flood {
		c, err := net.Dial("unix", dir.Path(rundir.SocketFile))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := asks(t, dir); err != nil { // behind all of them
		t.Error(err)
	}
	if n := runtime.NumGoroutine() - before; n > 2*maxCallers+16 {
		t.Errorf("%d goroutines for %d callers", n, flood)
	}
}

// TestFollowersAreBounded: they leave places for hooks.
func TestFollowersAreBounded(t *testing.T) {
	dir := socket(t, slog.New(slog.DiscardHandler), func(ctx context.Context, r control.Request, answer func(any) error) error {
		err := reports(ctx, r, answer)
		if r.Op == control.OpWatch {
			<-ctx.Done()
		}
		return err
	})
	follow := func() (*control.Conn, error) {
		c, err := control.Dial(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		var r control.Report
		return c, c.Ask(t.Context(), control.Request{Op: control.OpWatch}, &r)
	}
	var first *control.Conn
	for i := range maxFollowers {
		c, err := follow()
		if err != nil {
			t.Fatalf("follower %d: %v", i, err)
		}
		if i == 0 {
			first = c
		}
	}
	if _, err := follow(); err == nil || !strings.Contains(err.Error(), "others follow") {
		t.Errorf("one too many: %v", err)
	}
	if err := asks(t, dir); err != nil {
		t.Error(err)
	}
	_ = first.Close()
	for end := time.Now().Add(5 * time.Second); ; { // its place becomes free when the keeper reads the end
		if _, err := follow(); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A request that no hook can have sent is refused.
func TestParseRequest(t *testing.T) {
	const intent = `"intent":{"role":"primary","token":{"ticks":1,"pid":2},"state":"MASTER","at":"2026-01-02T03:04:05Z"`
	for line, want := range map[string]string{
		`{"op":"status"}`:                                                        "",
		`{"op":"watch","more":1}`:                                                "",
		`{"op":"settle","wait_ns":1,` + intent + `}}`:                            "",
		`{"op":"settle"}`:                                                        "without intent",
		`{"op":"release","intent":null}`:                                         "without intent",
		`{"op":"settle",` + intent + `,"scope":"a\u001b"}}`:                      "unprintable",
		`{"op":"settle",` + intent + `,"owner":{"pid":-1}}}`:                     "below zero",
		`{"op":"settle",` + intent + `,"token":{"ticks":18446744073709551615}}}`: "from the future",
		`{"op":"shutdown"}`:                                                      "unknown request",
		`{}`:                                                                     "unknown request",
		`[1]`:                                                                    "malformed",
		``:                                                                       "malformed",
	} {
		_, err := parseRequest([]byte(line))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// What is taken has a known operation and, where it needs one, a valid intent.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"settle","intent":{"role":"primary","token":{"ticks":1}},"wait_ns":1}`))
	f.Add([]byte(`{"op":"watch"}`))
	f.Add([]byte("{\n\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			return
		}
		if (r.Op == control.OpSettle || r.Op == control.OpRelease) && r.Intent.Validate() != nil {
			t.Fatalf("%+v", r)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
