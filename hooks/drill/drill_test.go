package drill

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// fake is a router whose peer behaves as a test wants.
type fake struct {
	reports chan hooks.Report
	set     []int
	peer    bool          // takes over when our priority is low
	delay   time.Duration // of each change
	preempt bool          // we return
	asked   error
	broken  error
}

func (f *fake) Reports() <-chan hooks.Report { return f.reports }

func (f *fake) Priority(delta int) error {
	f.set = append(f.set, delta)
	switch {
	case f.broken != nil:
		return f.broken
	case delta < 0 && f.peer:
		f.become(hooks.Backup)
	case delta == 0 && f.preempt:
		f.become(hooks.Primary)
	}
	return nil
}

func (f *fake) PeerAnswers(ctx context.Context) error {
	if errors.Is(f.asked, context.DeadlineExceeded) {
		<-ctx.Done()
	}
	return f.asked
}

// become reports a transition as a keeper does: at first under way, then done.
func (f *fake) become(role hooks.Role) {
	go func() {
		time.Sleep(f.delay)
		r := report(role)
		r.WANs[0].Address = netip.Prefix{}
		f.reports <- r
		time.Sleep(10 * time.Millisecond)
		r = report(role)
		r.Transitions = []hooks.Transition{{At: time.Now(), Role: role, Phases: []hooks.Phase{{Name: "phase", At: 3 * time.Millisecond}}}}
		f.reports <- r
	}()
}

func report(role hooks.Role) hooks.Report {
	return hooks.Report{
		Role: role, By: "keepalived[1] VI_1 " + role.String(),
		WANs: []hooks.WAN{{Name: "wan", Role: role, Address: netip.MustParsePrefix("192.0.2.7/24")}},
	}
}

func TestDrill(t *testing.T) {
	for name, c := range map[string]struct {
		f    fake
		from hooks.Role
		stay bool
		err  error
		set  []int
		says []string
	}{
		"there and back": {
			f: fake{peer: true, preempt: true}, from: hooks.Primary, set: []int{-199, 0},
			says: []string{"0s priority lowered", "1s backup, by keepalived[1] VI_1 backup", "1s the peer answers", "backup: phase after 3ms", "priority put back", "primary, by", "primary: phase after 3ms", "everything is as before"},
		},
		"nopreempt":    {f: fake{peer: true}, from: hooks.Primary, stay: true, set: []int{-199, 0}, says: []string{"it stays backup"}},
		"no peer":      {f: fake{}, from: hooks.Primary, err: ErrNoPeer, set: []int{-199, 0}, says: []string{"put back"}},
		"silent peer":  {f: fake{peer: true, preempt: true, asked: context.DeadlineExceeded}, from: hooks.Primary, err: ErrNoAnswer, set: []int{-199, 0}},
		"cannot ask":   {f: fake{peer: true, preempt: true, asked: ErrCannotAsk}, from: hooks.Primary, set: []int{-199, 0}, says: []string{"its advert has said so"}},
		"no return":    {f: fake{peer: true}, from: hooks.Primary, err: ErrNoReturn, set: []int{-199, 0}},
		"is backup":    {f: fake{}, from: hooks.Backup, err: ErrNotPrimary},
		"cannot write": {f: fake{broken: errTest}, from: hooks.Primary, err: errTest, set: []int{-199, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.f
				f.delay, f.reports = time.Second, make(chan hooks.Report, 10)
				f.reports <- report(c.from)
				var said []string
				err := Run(t.Context(), &f, Plan{
					Lower: -199, Limit: 10 * time.Second, Hold: 2 * time.Second, Stay: c.stay,
					Say: func(after time.Duration, text string) { said = append(said, fmt.Sprintf("%v %s", after, text)) },
				})
				if !errors.Is(err, c.err) || err != nil && c.err == nil {
					t.Errorf("got error %v, want %v", err, c.err)
				}
				if !slices.Equal(f.set, c.set) {
					t.Errorf("priorities %v, want %v", f.set, c.set)
				}
				all := strings.Join(said, "\n")
				for _, want := range c.says {
					if strings.Count(all, want) != 1 {
						t.Errorf("%q is not said once:\n%s", want, all)
					}
				}
				time.Sleep(time.Minute) // the fake's goroutines end
			})
		})
	}
}

var errTest = errors.New("disk full")

// Interrupted at any moment, the priority is put back.
func TestInterrupted(t *testing.T) {
	for at := 500 * time.Millisecond; at < 5*time.Second; at += 500 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			f := fake{peer: true, preempt: true, delay: time.Second, reports: make(chan hooks.Report, 10)}
			f.reports <- report(hooks.Primary)
			ctx, cancel := context.WithTimeout(t.Context(), at+time.Millisecond)
			defer cancel()
			err := Run(ctx, &f, Plan{Lower: -199, Limit: 10 * time.Second, Hold: 2 * time.Second, Say: func(time.Duration, string) {}})
			if last := f.set[len(f.set)-1]; last != 0 {
				t.Errorf("interrupted after %v: priority %d, %v", at, last, err)
			}
			time.Sleep(time.Minute) // the fake's goroutines end
		})
	}
}

func TestKeeperEnds(t *testing.T) {
	f := fake{reports: make(chan hooks.Report, 1)}
	f.reports <- report(hooks.Primary)
	close(f.reports)
	err := Run(t.Context(), &f, Plan{Lower: -199, Limit: time.Second, Say: func(time.Duration, string) {}})
	if err == nil || !slices.Equal(f.set, []int{-199, 0}) {
		t.Errorf("got %v, %v", err, f.set)
	}
}
