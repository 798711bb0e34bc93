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

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

var vip = netip.MustParseAddr("192.168.10.1")

// fake is a router whose peer behaves as a test wants.
type fake struct {
	reports  chan control.Report
	sights   chan Sight
	set      []string
	peer     bool          // takes over when our priority is low
	delay    time.Duration // of each change
	dies     time.Duration // after which the peer does
	deaf     bool          // hooks do not reach the keeper
	silent   bool          // the peer does not answer
	unasked  bool          // nobody can be asked
	preempt  bool          // we return
	renumber bool          // with another address
	broken   error         // of the file
}

func (f *fake) Reports() <-chan control.Report { return f.reports }
func (f *fake) Sights() <-chan Sight           { return f.sights }

func (f *fake) Lower() error {
	f.set = append(f.set, "lower")
	if f.broken != nil {
		return f.broken
	}
	if f.peer {
		f.become(f.delay, intent.Backup)
		if f.dies > 0 {
			f.become(f.dies, intent.Primary)
		}
	}
	return nil
}

func (f *fake) Restore() error {
	f.set = append(f.set, "restore")
	if f.preempt && f.peer && f.dies == 0 {
		f.become(f.delay, intent.Primary)
	}
	return f.broken
}

// become reports a transition as a keeper does: at first under way, then done.
func (f *fake) become(after time.Duration, role intent.Role) {
	go func() {
		time.Sleep(after)
		f.see(role)
		time.Sleep(time.Millisecond)
		if f.deaf {
			return
		}
		r := report(role)
		r.WANs[0].Address = netip.Prefix{}
		r.Services[0].Running = !r.Services[0].Running
		f.reports <- r
		time.Sleep(10 * time.Millisecond)
		r = report(role)
		if f.renumber {
			r.WANs[0].Address = netip.MustParsePrefix("192.0.2.8/24")
		}
		r.Transitions = []control.Transition{{At: time.Now(), Role: role, Phases: []control.Phase{{Name: "phase", At: 3 * time.Millisecond}}}}
		f.reports <- r
	}()
}

func (f *fake) see(role intent.Role) {
	if f.unasked {
		return
	}
	if role == intent.Primary {
		f.sights <- Sight{Address: vip, Who: Here, At: time.Now(), Missing: 7 * time.Millisecond}
		return
	}
	f.sights <- Sight{Address: vip, Who: Nobody, At: time.Now()}
	if !f.silent {
		f.sights <- Sight{Address: vip, Who: Peer, At: time.Now(), Missing: 5 * time.Millisecond}
	}
}

func report(role intent.Role) control.Report {
	return control.Report{
		Role: role, By: "keepalived[1] VI_1 " + role.String(),
		WANs: []control.WAN{
			{Name: "wan", Role: role, Address: netip.MustParsePrefix("192.0.2.7/24")},
			{Name: "other"}, // which is the peer's all the time
		},
		Services: []control.Service{{Name: "dnsmasq", Running: role == intent.Primary}},
	}
}

var (
	there = []string{"lower", "restore"}
	errIO = errors.New("disk full")
)

func TestDrill(t *testing.T) {
	for name, c := range map[string]struct {
		f    fake
		from intent.Role
		bare bool // no lease
		stay bool
		err  error
		text string // of the error
		set  []string
		says []string
	}{
		"there and back": {
			f: fake{peer: true, preempt: true}, from: intent.Primary, set: there,
			says: []string{
				"0s priority lowered to 1", "1s this router has given up 192.168.10.1", "1s the peer answers for 192.168.10.1", "1s wan backup",
				"1s   phase after 3.0ms", "3s priority put back", "4s this router has 192.168.10.1 again", "4s wan primary", "4s   phase after 3.0ms",
				"everything is as before", "192.168.10.1 unanswered for at most 5.0ms and 7.0ms",
			},
		},
		"nopreempt":    {f: fake{peer: true}, from: intent.Primary, stay: true, set: there, says: []string{"stays backup (nopreempt)", "at most 5.0ms"}},
		"no peer":      {f: fake{}, from: intent.Primary, err: ErrNoPeer, set: there, says: []string{"10s priority put back"}},
		"silent peer":  {f: fake{peer: true, preempt: true, silent: true}, from: intent.Primary, err: ErrNoAnswer, set: there, says: []string{"priority put back", "everything is as before"}},
		"cannot ask":   {f: fake{peer: true, preempt: true, unasked: true}, from: intent.Primary, set: there, says: []string{"its advert says", "everything is as before"}},
		"no hooks":     {f: fake{peer: true, preempt: true, deaf: true}, from: intent.Primary, err: ErrNotNotified, set: there, says: []string{"everything is as before"}},
		"no return":    {f: fake{peer: true}, from: intent.Primary, err: ErrNoReturn, set: there},
		"peer dies":    {f: fake{peer: true, preempt: true, dies: 2 * time.Second}, from: intent.Primary, err: ErrNotHeld, set: there, says: []string{"everything is as before"}},
		"renumbered":   {f: fake{peer: true, preempt: true, renumber: true}, from: intent.Primary, text: "wan has 192.0.2.8/24, it had 192.0.2.7/24", set: there},
		"is backup":    {f: fake{}, from: intent.Backup, err: ErrNotPrimary},
		"no lease":     {f: fake{}, from: intent.Primary, bare: true, text: "wan has no lease"},
		"cannot write": {f: fake{broken: errIO}, from: intent.Primary, err: errIO, set: there},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.f
				f.delay, f.reports, f.sights = time.Second, make(chan control.Report, 10), make(chan Sight, 10)
				first := report(c.from)
				if c.bare {
					first.WANs[0].Address = netip.Prefix{}
				}
				f.reports <- first
				var said []string
				plan := Plan{
					WANs: []string{"wan", "other"}, Watched: []netip.Addr{vip}, Limit: 10 * time.Second, Hold: 2 * time.Second, Stay: c.stay,
					Say: func(after time.Duration, text string) {
						said = append(said, fmt.Sprintf("%v %s", after.Round(time.Second), text))
					},
				}
				if f.unasked {
					plan.Watched = nil
				}
				err := Run(t.Context(), &f, plan)
				switch {
				case c.text != "":
					if err == nil || !strings.Contains(err.Error(), c.text) {
						t.Errorf("got error %v, want %s", err, c.text)
					}
				case !errors.Is(err, c.err) || err != nil && c.err == nil:
					t.Errorf("got error %v, want %v", err, c.err)
				}
				if !slices.Equal(f.set, c.set) {
					t.Errorf("priority: %v, want %v", f.set, c.set)
				}
				all := strings.Join(said, "\n")
				rest := all
				for _, want := range c.says {
					_, after, ok := strings.Cut(rest, want)
					if !ok || strings.Count(all, want) != 1 {
						t.Errorf("%q is not said once and in its place:\n%s", want, all)
					}
					rest = after
				}
				for _, line := range said {
					if len(line) > 80-len("0000.000s")+len("0s") {
						t.Errorf("wider than 80 columns: %s", line)
					}
				}
				time.Sleep(time.Minute) // the fake's goroutines end
			})
		})
	}
}

// Interrupted at any moment, the priority is put back.
func TestInterrupted(t *testing.T) {
	for at := time.Duration(0); at < 5*time.Second; at += 125 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			f := fake{peer: true, preempt: true, delay: time.Second, reports: make(chan control.Report, 10), sights: make(chan Sight, 10)}
			f.reports <- report(intent.Primary)
			ctx, cancel := context.WithTimeout(t.Context(), at+time.Millisecond)
			defer cancel()
			err := Run(ctx, &f, Plan{WANs: []string{"wan"}, Watched: []netip.Addr{vip}, Limit: 10 * time.Second, Hold: 2 * time.Second, Say: func(time.Duration, string) {}})
			if !slices.Equal(f.set, there) || at < 4*time.Second && (err == nil || !strings.Contains(err.Error(), "interrupted")) {
				t.Errorf("interrupted after %v: %v, %v", at, f.set, err)
			}
			time.Sleep(time.Minute) // the fake's goroutines end
		})
	}
}

func TestKeeperEnds(t *testing.T) {
	f := fake{reports: make(chan control.Report, 1)}
	f.reports <- report(intent.Primary)
	close(f.reports)
	err := Run(t.Context(), &f, Plan{WANs: []string{"wan"}, Limit: time.Second, Say: func(time.Duration, string) {}})
	if !errors.Is(err, ErrKeeper) || !slices.Equal(f.set, there) {
		t.Errorf("got %v, %v", err, f.set)
	}
}
