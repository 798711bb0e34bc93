package keepalived

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
)

func TestParseNotice(t *testing.T) {
	for line, want := range map[string]Notice{
		`INSTANCE "VI_1" MASTER 254`:              {"VI_1", "MASTER"},
		`GROUP "wan and lan" FAULT 0`:             {"wan and lan", "FAULT"},
		`INSTANCE "say "hi"" BACKUP 1`:            {`say "hi"`, "BACKUP"},
		`INSTANCE "VI_1" MASTER_RX_LOWER_PRI 254`: {"VI_1", "MASTER_RX_LOWER_PRI"},
		`INSTANCE "VI_1" STOP`:                    {"VI_1", "STOP"},
	} {
		if got, err := ParseNotice(line); err != nil || got != want {
			t.Errorf("%s: got %v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "INSTANCE", `INSTANCE "VI_1"`, `INSTANCE "VI_1`, `INSTANCE VI_1 MASTER 1`, `VS [10.0.0.1]:tcp:80 UP`, `INSTANCE "" MASTER 1`, `INSTANCE " MASTER 1`} {
		if got, err := ParseNotice(line); err == nil {
			t.Errorf("%q: got %v", line, got)
		}
	}
}

func FuzzParseNotice(f *testing.F) {
	f.Add(`INSTANCE "VI_1" MASTER 254`)
	f.Fuzz(func(t *testing.T, line string) {
		if n, err := ParseNotice(line); err == nil && (intent.ValidScope(n.Scope) != nil || n.State == "" || strings.ContainsAny(n.State, " \t\n")) {
			t.Errorf("%q: got %q", line, n)
		}
	})
}

// keepalived terminates the reader before it writes STOP: both lines that come
// after the context has ended must be read.
func TestReadFIFOAfterSIGTERM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0) // as keepalived does
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard, bads, done := make(chan string, 16), make(chan error, 16), make(chan error, 1)
	go func() {
		done <- ReadFIFO(ctx, path, always, func() {}, func(n Notice) { heard <- n.Scope + " " + n.State }, func(err error) { bads <- err })
	}()
	fmt.Fprintf(w, "INSTANCE \"VI_1\" MASTER 254\nnonsense\n%s\n", strings.Repeat("x", 5000))
	var got []string
	got = append(got, <-heard)
	cancel()
	fmt.Fprint(w, "INSTANCE \"VI_1\" STOP 254\nGROUP \"G\" STOP 0\n")
	got = append(got, <-heard, <-heard)
	_ = w.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader stays after keepalived has closed the FIFO")
	}
	if want := []string{"VI_1 MASTER", "VI_1 STOP", "G STOP"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(bads) != 2 {
		t.Errorf("%d lines were bad, want 2", len(bads))
	}
}

// keepalived writes without waiting, and drops what does not fit. What did fit is
// read, the latest included, and a reader makes room for far more.
func TestReadFIFOThatIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK, 0) // as keepalived does
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// fill writes until nothing fits any more and returns how many lines did.
	fill := func(from int) (n int) {
		for {
			if _, err := unix.Write(fd, fmt.Appendf(nil, "INSTANCE \"VI_1\" MASTER %d\n", from+n)); err != nil {
				return n
			}
			n++
		}
	}
	before := fill(0)
	var heard atomic.Int64
	hold, started := make(chan struct{}), make(chan struct{})
	go func() {
		_ = ReadFIFO(t.Context(), path, always, func() {}, func(Notice) {
			if heard.Add(1) == 1 {
				close(started)
				<-hold // the reader is stopped
			}
		}, func(err error) { t.Error(err) })
	}()
	<-started
	more := fill(before)
	close(hold)
	if before < 1000 || more < 10*before {
		t.Errorf("%d lines found room before there was a reader, %d after", before, more)
	}
	for heard.Load() < int64(before+more) {
		select {
		case <-t.Context().Done():
			t.Fatalf("heard %d of %d lines", heard.Load(), before+more)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestReadFIFORefusesFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "-none"} {
		if err := ReadFIFO(t.Context(), p, always, func() {}, nil, nil); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
