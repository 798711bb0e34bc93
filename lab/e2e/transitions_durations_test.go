package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestDurations measures what a hook costs, from its start to its exit, and from
// its start to what it is for, beside the classic script. The table that it logs
// is the one in docs/transitions.md.
func TestDurations(t *testing.T) {
	const rounds = 7
	var script, wanfail map[string][]time.Duration
	t.Run("script", func(t *testing.T) { script = durations(t, lab.Script, rounds) })
	t.Run("wanfail", func(t *testing.T) { wanfail = durations(t, lab.Wanfail, rounds) })
	var b strings.Builder
	b.WriteString("| what | wanfail | script | ratio |\n|---|---|---|---|\n")
	for _, what := range []string{
		"primary: start to default route", "primary: start to exit, services up",
		"backup: start to link gone", "backup: start to exit, services down",
		"primary again (no-op): start to exit", "backup again (no-op): start to exit", "superseded: start to exit",
	} {
		w, s := median(wanfail[what]), median(script[what])
		ratio := "-"
		if s > 0 {
			ratio = fmt.Sprintf("%.2f", float64(w)/float64(s))
		}
		fmt.Fprintf(&b, "| %s | %v | %v | %s |\n", what, ms(w), ms(s), ratio)
		if w == 0 {
			t.Errorf("%s was not measured", what)
		}
	}
	t.Logf("medians of %d rounds:\n%s", rounds, b.String())
	for what, limit := range map[string]time.Duration{
		"primary: start to default route": 150 * time.Millisecond, "backup: start to link gone": silentWithin,
		"primary again (no-op): start to exit": 100 * time.Millisecond, "superseded: start to exit": 250 * time.Millisecond,
	} {
		if got := median(wanfail[what]); got > limit {
			t.Errorf("%s takes %v, want %v at the most", what, got, limit)
		}
	}
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func durations(t *testing.T, scheme lab.Scheme, rounds int) map[string][]time.Duration {
	w := build(t, 120*time.Second, lab.Options{Scheme: scheme})
	r := w.l.Router(0)
	command := "wanfail"
	if scheme == lab.Script {
		command = "/usr/local/sbin/primary-backup.sh"
	}
	d := map[string][]time.Duration{}
	// took runs the hook, and meanwhile looks for its effect each millisecond: the
	// kernel is silent about routes that go with their link.
	took := func(what, role, effect string, reached func() (bool, error)) {
		p, err := r.Start(w.ctx, command, role)
		w.must(err)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var at, exit time.Duration
		for done := p.Done(); at == 0 || exit == 0; {
			select {
			case <-done:
				exit, done = time.Since(p.Started), nil
			case <-tick.C:
			case <-w.ctx.Done():
				t.Fatalf("%s: no effect: %s", what, p.Output())
			}
			if at == 0 {
				ok, err := reached()
				w.must(err)
				if ok {
					at = time.Since(p.Started)
				}
			}
		}
		w.must(p.Wait())
		d[what] = append(d[what], exit)
		if effect != "" {
			d[effect] = append(d[effect], at)
		}
	}
	routed := func() (bool, error) {
		gw, iface, err := r.DefaultGateway()
		return gw == lab.Gateway && iface == "wan", err
	}
	silent := func() (bool, error) {
		link, err := r.Link("wan")
		return link == nil, err
	}
	at := func() (bool, error) { return true, nil }
	for i := range rounds + 1 {
		took("primary: start to exit, services up", "primary", "primary: start to default route", routed)
		w.must(r.WaitServices(w.ctx, true))
		w.must(r.WaitWAN(w.ctx))
		if scheme == lab.Wanfail { // the script would start a second udhcpc
			took("primary again (no-op): start to exit", "primary", "", at)
		}
		took("backup: start to exit, services down", "backup", "backup: start to link gone", silent)
		w.must(r.WaitServices(w.ctx, false))
		if scheme == lab.Wanfail {
			took("backup again (no-op): start to exit", "backup", "", at)
		}
		if i == 0 {
			clear(d) // starts what stays, as the keeper, and fills caches
		}
	}
	if scheme != lab.Wanfail {
		return d
	}
	for range rounds {
		var storm []*lab.Process
		ended := make([]chan time.Duration, 8)
		for i := range ended {
			ended[i] = make(chan time.Duration, 1)
			p, err := r.Start(w.ctx, command, []string{"primary", "backup"}[i%2])
			w.must(err)
			storm = append(storm, p)
			go func() {
				<-p.Done()
				ended[i] <- time.Since(p.Started)
			}()
		}
		for i, p := range storm {
			w.must(p.Wait())
			after := <-ended[i]
			if strings.Contains(p.Output(), "superseded") {
				d["superseded: start to exit"] = append(d["superseded: start to exit"], after)
			}
		}
	}
	return d
}
