package command_test

import (
	"bytes"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
)

func (r *router) cmdKillKeeper(ts *testscript.TestScript, neg bool, args []string) { r.stop() }

// lines is what a program in the background prints.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // not embedded: its ReadFrom would go past the lock
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// watch starts `status --watch --json`, which ends with an interrupt and 0.
func (r *router) cmdWatch(ts *testscript.TestScript, neg bool, args []string) {
	cmd := r.command(ts, []string{"status", "--watch", "--json"})
	r.watched = &lines{}
	cmd.Stdout, cmd.Stderr = r.watched, r.watched
	r.do(cmd.Start)
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("status --watch: %v", err)
		}
	})
	r.await(ts, "first report", func() bool { return r.watched.String() != "" })
}

// seen REGEXP waits until that was printed.
func (r *router) cmdSeen(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(args[0])
	r.await(ts, "report like "+args[0], func() bool {
		return re.MatchString(r.watched.String())
	})
}

// frames fails if a frame has left eth2 since it was called last.
func (r *router) cmdFrames(ts *testscript.TestScript, neg bool, args []string) {
	r.do(func() error {
		l, err := netlink.LinkByName("eth2")
		ts.Check(err)
		n := l.Attrs().Statistics.TxPackets
		if r.counted && n != r.sent {
			ts.Fatalf("%d frames were sent", n-r.sent)
		}
		r.sent, r.counted = n, true
		return nil
	})
}

// quick LIMIT ARGS... runs the program, which must succeed within LIMIT at the
// best of ten times: the computer may be busy with other tests.
func (r *router) cmdQuick(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	if raced {
		limit *= 10 // with the race detector in it, the program itself is that slow
	}
	best := time.Hour
	for range 10 {
		cmd := r.command(ts, args[1:])
		var out []byte
		r.do(func() (err error) {
			start := time.Now()
			out, err = cmd.Output()
			best = min(best, time.Since(start))
			return err
		})
		if best < limit {
			_, _ = ts.Stdout().Write(out)
			ts.Logf("took %v", best)
			return
		}
	}
	ts.Fatalf("took %v at best, want less than %v", best, limit)
}
