package keepalived

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fifoWriter opens a FIFO as keepalived does, and makes it first.
func fifoWriter(t *testing.T, path string) *os.File {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}

// standingIn is a StandIn that runs.
type standingIn struct {
	t     *testing.T
	heard chan string
	stop  context.CancelFunc
	done  chan error
	ended atomic.Bool // keepalived
}

func (s *standingIn) alive() bool { return !s.ended.Load() }

func startStandIn(t *testing.T, path string) *standingIn {
	s := &standingIn{t: t, heard: make(chan string, 100), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	go func() {
		s.done <- StandIn(ctx, path, s.alive, func(n Notice) { s.heard <- n.Scope + " " + n.State }, func(err error) { t.Error(err) })
	}()
	return s
}

func (s *standingIn) hears(want ...string) {
	s.t.Helper()
	for _, w := range want {
		select {
		case got := <-s.heard:
			if got != w {
				s.t.Errorf("heard %q, want %q", got, w)
			}
		case err := <-s.done:
			s.t.Fatalf("ended: %v", err)
		case <-time.After(10 * time.Second):
			s.t.Fatalf("never heard %q", w)
		}
	}
}

func (s *standingIn) ends() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(2 * gapLimit):
		s.t.Fatal("does not end")
		return nil
	}
}

// What was written while nobody read is heard, then what is written; through
// reloads that make the FIFO anew or open it again as it is, in whatever order.
func TestStandIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	w := fifoWriter(t, path)
	fmt.Fprint(w, "INSTANCE \"VI_1\" MASTER 254\n")
	s := startStandIn(t, path)
	s.hears("VI_1 MASTER")
	fmt.Fprint(w, "INSTANCE \"VI_1\" BACKUP 254\nINSTANCE \"VI_1\" MASTER 254\n")
	s.hears("VI_1 BACKUP", "VI_1 MASTER")
	for i := range 20 {
		_ = w.Close()
		if i%2 == 0 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(i%5) * time.Millisecond)
		if i%2 == 0 {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(i%3) * time.Millisecond)
		w = fifoWriter(t, path)
		fmt.Fprintf(w, "INSTANCE \"VI_%d\" BACKUP 254\n", i)
		s.hears(fmt.Sprintf("VI_%d BACKUP", i))
	}
	s.stop()
	if err := s.ends(); err != nil {
		t.Error(err)
	}
	_ = w.Close()
}

// What another keepalived writes is left to its own reader.
func TestStandInEndsWithKeepalived(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	w := fifoWriter(t, path)
	defer w.Close()
	s := startStandIn(t, path)
	fmt.Fprint(w, "INSTANCE \"VI_1\" MASTER 1\n")
	s.hears("VI_1 MASTER")
	s.ended.Store(true)
	fmt.Fprint(w, "INSTANCE \"VI_1\" BACKUP 1\n")
	if err := s.ends(); err != nil {
		t.Error(err)
	}
	other := startStandIn(t, path)
	other.hears("VI_1 BACKUP")
	other.stop()
	if err := other.ends(); err != nil {
		t.Error(err)
	}
}

func always() bool { return true }

// One process at a time reads. The next one has the rest, and of a line that was
// half read nothing.
func TestStandInWaitsItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	w := fifoWriter(t, path)
	defer w.Close()
	first := startStandIn(t, path)
	fmt.Fprint(w, "INSTANCE \"VI_1\" MASTER 1\n")
	first.hears("VI_1 MASTER")
	second := startStandIn(t, path)
	for i := range 50 {
		line := fmt.Sprintf("INSTANCE \"%s%d\" MASTER 1\n", strings.Repeat("x", 100), i)
		fmt.Fprint(w, line)
		first.hears(fmt.Sprintf("%s%d MASTER", strings.Repeat("x", 100), i))
	}
	first.stop()
	if err := first.ends(); err != nil {
		t.Error(err)
	}
	fmt.Fprint(w, "INSTANCE \"VI_1\" BACKUP 1\n")
	second.hears("VI_1 BACKUP")
	second.stop()
	if err := second.ends(); err != nil {
		t.Error(err)
	}
	if len(first.heard)+len(second.heard) != 0 {
		t.Error("lines were heard twice")
	}
}

// A FIFO that keepalived does not use any more, and a file that is none, cannot be
// read in anybody's place.
func TestStandInForNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := startStandIn(t, file).ends(); err == nil || !strings.Contains(err.Error(), "not a FIFO") {
		t.Errorf("a file: %v", err)
	}
	for name, make := range map[string]func(path string){
		"none":   func(string) {},
		"closed": func(path string) { _ = fifoWriter(t, path).Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			make(path)
			start := time.Now()
			if err := startStandIn(t, path).ends(); !errors.Is(err, ErrNoWriter) {
				t.Errorf("%v", err)
			}
			if d := time.Since(start); d < gapLimit {
				t.Errorf("given up after %v", d)
			}
		})
	}
}
