package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/image"
)

// The relay is tested with the script: the package needs no wanfail to be built.
func TestMain(m *testing.M) {
	lab.Main(func(context.Context) (lab.Inputs, error) {
		root, err := image.Repository()
		if err != nil {
			return lab.Inputs{}, err
		}
		in := lab.Inputs{Binary: os.Getenv("WANFAIL_BINARY")}
		if in.Binary == "" { // any file will do
			in.Binary = filepath.Join(root, "Makefile")
		}
		return in, nil
	}, m.Run)
}

func TestRelayHoldsBackDHCPAndNothingElse(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	g, err := newRig(ctx, lab.Script)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	near, err := g.Round(ctx, Dhclient, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	const rtt = 300 * time.Millisecond
	g.Server(rtt, false)
	far, err := g.Round(ctx, Dhclient, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// Discover and request are two round trips; ARP and the ping would be more.
	if far < 2*rtt || far > 2*rtt+near+200*time.Millisecond {
		t.Errorf("with a server %v away the WAN took %v, with a near one %v", rtt, far, near)
	}
	g.Server(0, true)
	if took, err := g.Round(ctx, Dhclient, time.Second); !errors.Is(err, errNever) {
		t.Errorf("with a dead server: %v, %v", took, err)
	}
}

func TestSeries(t *testing.T) {
	for _, c := range []struct {
		s    Series
		want string
	}{
		{Series{}, "-"},
		{Series{Values: []time.Duration{3 * time.Millisecond}}, "3.0 ms"},
		{Series{Values: []time.Duration{9e6, 1e6, 20e6}}, "9.0 ms (1.0 to 20)"},
		{Series{Values: []time.Duration{8e6, 4e6}, Failed: 1}, "6.0 ms (4.0 to 8.0), 1 of 3 never"},
		{Series{Failed: 2, Limit: 10 * time.Second}, "never (> 10s)"},
	} {
		if got := c.s.String(); got != c.want {
			t.Errorf("%v: %q, want %q", c.s.Values, got, c.want)
		}
	}
}

// A goal that is missed says so, and by how much.
func TestGoals(t *testing.T) {
	hooks := func(cold time.Duration) *Results {
		var r Results
		for _, c := range Contestants() {
			took := 100 * time.Millisecond
			switch c.Name {
			case Cold.Name:
				took = cold
			case Remembered.Name:
				took = 5 * time.Millisecond
			}
			s := Series{Values: []time.Duration{took}}
			r.Hooks = append(r.Hooks, HookResult{Contestant: c, Alive: []Series{s, s, s}, Dead: s})
		}
		r.Sessions = []*SessionResult{{Contender: contenders[0], Scenario: lab.Stop, Advert: time.Second, Sessions: 10, Survived: []int{9}, LostPush: 1}}
		return &r
	}
	for cold, want := range map[time.Duration]string{
		10 * time.Millisecond: "| cold, 10 times faster than script + udhcpc | 10.0 times | met |",
		20 * time.Millisecond: "| cold, 10 times faster than script + udhcpc | 5.0 times | **missed** by 5.0 |",
	} {
		var b strings.Builder
		if err := hooks(cold).Write(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{want, "in any of 1 rounds | 1 | **missed** by 1 |", "**1** of 10 (in all 1 pushed, 0 echoed)"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is missing in\n%s", want, b.String())
			}
		}
	}
}
