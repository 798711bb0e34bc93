package lab

import (
	"testing"
	"time"
)

func TestLongestOutage(t *testing.T) {
	t0 := time.Unix(1000, 0)
	// Each letter is a probe, 5 ms apart: '+' answered, '-' lost.
	for _, c := range []struct {
		probes string
		after  int
		want   time.Duration
		lost   int
		open   bool
	}{
		{"++++++", 0, 0, 0, false},
		{"++---+++", 0, 20 * time.Millisecond, 3, false},
		{"+-++---+-+", 0, 20 * time.Millisecond, 3, false},
		{"+----+++-+", 5, 10 * time.Millisecond, 1, false},
		{"---+++", 0, 15 * time.Millisecond, 3, false},
		{"++++----", 0, 0, 0, false},                           // still on their way
		{"+------", 0, 30 * time.Millisecond, 6, true},         // they will not come
		{"", 0, 0, 0, false},                                   // nothing sent
		{"------", 0, 25 * time.Millisecond, 6, true},          // nothing ever answered
		{"+-------+-----", 0, 40 * time.Millisecond, 7, false}, // the longer one counts
	} {
		var probes []probe
		for i, r := range c.probes {
			probes = append(probes, probe{t0.Add(time.Duration(i) * probeInterval), r == '+'})
		}
		got := longestOutage(probes, t0.Add(time.Duration(c.after)*probeInterval))
		if got.Duration() != c.want || got.Lost != c.lost || got.Open != c.open {
			t.Errorf("%s after %d: got %v, %d lost, open %v; want %v, %d, %v",
				c.probes, c.after, got.Duration(), got.Lost, got.Open, c.want, c.lost, c.open)
		}
	}
}
