package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestConntrackdThatDoesNotWork: one that hangs costs the address 200 ms, one that
// is down nothing, and both are reported. The limits leave room for a busy
// computer.
func TestConntrackdThatDoesNotWork(t *testing.T) {
	for _, c := range []struct {
		name, command, report string
		most                  time.Duration
	}{
		{"hangs", "kill -STOP $(pidof conntrackd)", "no answer", 400 * time.Millisecond},
		{"down", "systemctl stop conntrackd", "not running", 150 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := build(t, 30*time.Second, lab.Options{Conntrackd: true})
			r := w.l.Router(0)
			_, err := r.Run(w.ctx, "sh", "-c", c.command)
			w.must(err)
			hook, err := r.Start(w.ctx, "wanfail", "primary")
			w.must(err)
			up, err := w.tl.Wait(w.ctx, hook.Started, lab.Is(r.Name, lab.KindAddr, ""))
			w.must(err)
			took := up.At.Sub(hook.Started)
			t.Logf("the address was there after %v", ms(took))
			if took > c.most {
				t.Errorf("the address took %v, want %v at most", took, c.most)
			}
			<-hook.Done()
			w.eventually("a report", func() (bool, error) {
				out, err := r.Run(w.ctx, "wanfail", "status", "--json")
				return strings.Contains(out, `"conntrackd": "failing`) && strings.Contains(out, c.report), err
			})
		})
	}
}
