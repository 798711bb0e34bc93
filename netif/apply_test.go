package netif

import (
	"slices"
	"testing"
	"time"
)

func TestApplyFromNothingAndAgain(t *testing.T) {
	b := newBench(t)
	mon := newMonitor(t)
	d := lease("198.51.100.7/24")
	start := time.Now()
	c := b.apply(d)
	t.Logf("from nothing: %v", time.Since(start))
	want := []string{"quiet parent", "add link", "mark link", "disable ipv6", "set up link", "add address", "add route"}
	if !slices.Equal(c.Steps, want) || !slices.Equal(b.steps, want) {
		t.Errorf("steps %q, announced %q, want %q", c.Steps, b.steps, want)
	}
	o := b.observe()
	t.Logf("%+v", o)
	if len(mon.fence(t)) == 0 {
		t.Fatal("the monitor saw nothing of an Apply that made everything")
	}
	for range 3 {
		if c := b.apply(d); !c.None() {
			t.Errorf("same state again: %q", c.Steps)
		}
	}
	if msgs := mon.fence(t); len(msgs) > 0 {
		t.Errorf("same state again caused %d messages: %q", len(msgs), msgs)
	}
	start = time.Now()
	b.apply(d)
	t.Logf("no-op: %v", time.Since(start))
	start = time.Now()
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	t.Logf("mute: %v", time.Since(start))
	if !b.observe().Muted {
		t.Error("not muted")
	}
	t.Log(ip(t, "-d", "link", "show", "wan"), ip(t, "route"), ip(t, "addr", "show", "wan"))
	start = time.Now()
	c = b.apply(d)
	t.Logf("unmute: %v %q", time.Since(start), c.Steps)
	start = time.Now()
	if ok, err := b.Purge(t.Context(), wan); !ok || err != nil {
		t.Error(ok, err)
	}
	t.Logf("purge: %v", time.Since(start))
}
