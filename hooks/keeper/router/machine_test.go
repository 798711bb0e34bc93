package router

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

var errTest = errors.New("no answer")

func wallClock(boot time.Duration) time.Time { return time.Unix(1_700_000_000, 0).Add(boot) }

// Each case is a fault that the machine must not have.
func TestMachine(t *testing.T) {
	two := []WAN{{"a", "VI_1"}, {"b", "VI_2"}}
	for name, c := range map[string]struct {
		replicated bool
		wans       []WAN
		f          func(*rig)
	}{
		"the same role again does something": {true, nil, func(r *rig) {
			r.primary()
			r.do(r.ask(hooks.Primary), "")
			r.do(r.of(hooks.Primary, "VI_1", 0, 0), "")
		}},
		"an older request counts": {true, nil, func(r *rig) {
			old := r.ask(hooks.Backup)
			r.primary()
			r.do(old, "")
		}},
		"without replication something waits for it": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.ask(hooks.Primary), "fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(reached(0, 2), "")
			r.do(served(2), "ended: is primary")
			r.do(r.ask(hooks.Backup), "fallback backup; serve 3 false; turned backup; order 0 3 backup")
		}},
		"Resume comes before the address": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2")
			r.do(Reached{0, wan.State{Epoch: 2}}, "")
			r.do(reached(0, 1), "") // of the role before
			r.do(reached(0, 2), "resync 2")
			r.do(reached(0, 2), "") // once
		}},
		"a commit that hangs keeps the address out for good": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.after(CommitLimit-1).do(Woke{}, "")
			if at := r.m.Wake(); at != r.now+1 {
				r.t.Errorf("woken in %v", at-r.now)
			}
			r.after(1).do(Woke{}, "gate 0 2")
			if r.m.Wake() != Never {
				r.t.Error("woken again")
			}
			r.do(Replicated{Job: Commit, Epoch: 2, Err: errTest}, "")
		}},
		"a commit that fails keeps the address out": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2, Err: errTest}, "gate 0 2")
		}},
		"the commit of an older promotion opens the gate": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.step(r.ask(hooks.Backup))
			r.step(r.ask(hooks.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2}, "")
			r.do(Replicated{Job: Yield, Epoch: 3}, "")
			r.do(Replicated{Job: Resume, Epoch: 4}, "")
			r.do(Replicated{Job: Commit, Epoch: 4}, "gate 0 4")
		}},
		"a returning backup touches the replication": {true, nil, func(r *rig) {
			r.boot()
			r.do(r.of(hooks.Backup, "VI_1", 10, 0), "watch 10 0s")
		}},
		"a restarted keeper that finds a backup in place of a primary does not yield": {true, nil, func(r *rig) {
			r.do(Started{Found: []Found{{Held: true, Up: true}}}, "fallback backup; yield 1; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a restarted keeper yields for a mute link again": {true, nil, func(r *rig) {
			r.do(Started{Found: []Found{{Held: true}}}, "fallback backup; yield 1; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a restarted keeper commits anew": {true, nil, func(r *rig) {
			r.do(Started{Intents: hooks.Intents{r.intent(hooks.Primary)}, Found: []Found{{Held: true, Up: true}}},
				"fallback primary; serve 1 true; turned primary; order 0 1 primary open linger")
			r.do(served(1), "")
			r.do(reached(0, 1), "ended: is primary") // and it does not resume
		}},
		"a restarted keeper takes a mute link for its own connections": {true, nil, func(r *rig) {
			r.do(Started{Intents: hooks.Intents{r.intent(hooks.Primary)}, Found: []Found{{Held: true}}},
				"fallback primary; commit 1; serve 1 true; turned primary; order 0 1 primary linger")
		}},
		"a demotion does not yield": {true, nil, func(r *rig) {
			r.primary()
			r.do(r.ask(hooks.Backup), "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger")
			r.do(reached(0, 3), "")
			r.do(served(3), "ended: is backup")
		}},
		"a promotion that is taken back stays on its way": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.do(r.ask(hooks.Backup), "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger; ended: superseded on the way to primary")
		}},
		"a keepalived that died counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(hooks.Primary, "", 10, 0), "watch 10 0s; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(Gone{process(11), Exited}, "")
			r.do(Gone{process(10), Exited}, "fallback backup; serve 3 false; turned backup; order 0 3 backup; ended: superseded on the way to primary")
			if r.m.by != "keepalived[10] "+Exited {
				r.t.Errorf("by %q", r.m.by)
			}
			r.do(Gone{process(10), "is being stopped"}, "")
			r.do(r.of(hooks.Primary, "", 12, 0), "watch 12 0s; unwatch 10; fallback primary; serve 4 true; turned primary; order 0 4 primary open; ended: superseded on the way to backup")
		}},
		"a dead reader of the FIFO counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(hooks.Primary, "", 10, 11), "watch 10 0s; watch 11 1s; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(Gone{process(11), Exited}, "fallback backup; serve 3 false; turned backup; order 0 3 backup; ended: superseded on the way to primary")
			if !strings.Contains(r.m.by, "reload keepalived") {
				r.t.Errorf("by %q", r.m.by)
			}
		}},
		"a request of a dead keepalived makes a primary for a moment": {false, nil, func(r *rig) {
			r.boot()
			e := r.of(hooks.Primary, "", 10, 11)
			e.Ended = []hooks.Process{process(10)}
			r.do(e, "watch 11 1s")
		}},
		"a record of a dead keepalived makes a primary for a moment": {false, nil, func(r *rig) {
			e := r.of(hooks.Primary, "", 10, 0)
			r.do(Started{Intents: e.Intents, Ended: []hooks.Process{process(10)}}, "fallback backup; serve 1 false; turned backup; order 0 1 backup")
		}},
		"the death of a keepalived that asked for backup counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(hooks.Backup, "", 10, 0), "watch 10 0s")
			r.do(Gone{process(10), Exited}, "")
		}},
		"a person's request ends with a keepalived": {false, nil, func(r *rig) {
			r.boot()
			r.step(r.of(hooks.Primary, "", 10, 0))
			r.do(r.ask(hooks.Primary), "")
			r.do(Gone{process(10), Exited}, "")
		}},
		"services stop although another WAN stays primary": {true, two, func(r *rig) {
			r.do(Started{}, "fallback backup; serve 1 false; turned backup; order 0 1 backup linger; order 1 1 backup linger")
			r.do(r.of(hooks.Primary, "VI_1", 0, 0), "fallback primary; commit 2; serve 2 true; turned primary; order 0 2 primary linger; ended: superseded on the way to backup")
			r.do(r.of(hooks.Primary, "VI_2", 0, 0), "order 1 2 primary linger") // more of the same transition
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2; gate 1 2")
			r.do(served(2), "")
			r.do(reached(0, 2), "resync 2")
			r.do(reached(1, 2), "ended: is primary")
			r.do(r.of(hooks.Backup, "VI_1", 0, 0), "order 0 3 backup linger")
			r.do(reached(0, 3), "ended: is primary")
			r.do(r.of(hooks.Backup, "VI_2", 0, 0), "fallback backup; yield 4; serve 4 false; turned backup; order 1 4 backup linger")
		}},
		"a WAN that follows later waits for a gate that is open": {true, two, func(r *rig) {
			r.step(Started{})
			r.step(r.of(hooks.Primary, "VI_1", 0, 0))
			r.step(Replicated{Job: Commit, Epoch: 2})
			r.do(r.of(hooks.Primary, "VI_2", 0, 0), "order 1 2 primary open linger")
		}},
		"a WAN that changes twice within a transition is lost": {true, two, func(r *rig) {
			r.step(Started{})
			r.step(r.of(hooks.Primary, "VI_1", 0, 0))
			r.do(r.of(hooks.Primary, "VI_2", 0, 0), "order 1 2 primary linger")
			r.do(r.of(hooks.Backup, "VI_2", 0, 0), "order 1 3 backup linger; ended: superseded on the way to primary")
			r.do(r.of(hooks.Primary, "VI_2", 0, 0), "order 1 4 primary linger; ended: superseded on the way to primary")
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2; gate 1 4")
		}},
		"a request of another instance counts": {true, two, func(r *rig) {
			r.step(Started{})
			r.do(r.of(hooks.Primary, "VI_3", 0, 0), "")
			r.do(r.ask(hooks.Primary), "fallback primary; commit 2; serve 2 true; turned primary; order 0 2 primary linger; order 1 2 primary linger; ended: superseded on the way to backup")
		}},
		"an older request for all deletes a newer one for one instance": {false, two, func(r *rig) {
			r.step(Started{})
			all := r.ask(hooks.Backup)
			r.do(r.of(hooks.Primary, "VI_1", 0, 0), "fallback primary; serve 2 true; turned primary; order 0 2 primary open; ended: superseded on the way to backup")
			r.do(all, "")
			if r.m.Role() != hooks.Primary {
				r.t.Error("backup")
			}
		}},
		"release gives the lease back without being asked": {true, nil, func(r *rig) {
			r.primary()
			e := r.ask(hooks.Backup)
			e.Release = true
			r.do(e, "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger release")
			r.step(r.ask(hooks.Primary))
			r.do(r.ask(hooks.Backup), "fallback backup; yield 5; serve 5 false; turned backup; order 0 5 backup linger; ended: superseded on the way to primary")
		}},
		"a boot without a request releases": {true, nil, func(r *rig) {
			r.do(Started{Intents: hooks.Intents{}}, "fallback backup; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a transition ends before its services": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(hooks.Primary))
			r.do(reached(0, 2), "resync 2")
			r.do(served(1), "")
			r.do(Served{Epoch: 2}, "")
			r.do(served(2), "ended: is primary")
		}},
		"the MAC moved, and a backup announces it": {true, two, func(r *rig) {
			r.step(Started{})
			r.do(MACMoved{}, "")
			r.step(r.of(hooks.Primary, "VI_2", 0, 0))
			r.do(MACMoved{"VI_1", "x"}, "")
			r.do(MACMoved{"VI_2", "x"}, "announce 1")
			r.do(MACMoved{"", "x"}, "announce 1")
		}},
		"flapping is warned of for each change, or not at all": {false, nil, func(r *rig) {
			r.boot()
			warned := 0
			for n := range 20 {
				r.after(time.Second)
				if strings.Contains(r.step(r.ask(hooks.Role(1-n%2))), "log the role changed 8 times") {
					warned++
				}
			}
			if warned != 1 {
				r.t.Errorf("warned %d times", warned)
			}
			if rep := r.m.Report(r.now, wallClock); rep.Changes != 20 || !strings.Contains(strings.Join(rep.Warnings, "\n"), "changed 20 times") {
				r.t.Errorf("%d changes, %q", rep.Changes, rep.Warnings)
			}
			r.after(flapWindow)
			if rep := r.m.Report(r.now, wallClock); strings.Contains(strings.Join(rep.Warnings, "\n"), "changed") {
				r.t.Errorf("%q", rep.Warnings)
			}
			r.do(r.ask(hooks.Primary), "fallback primary; serve 22 true; turned primary; order 0 22 primary open; ended: superseded on the way to backup")
		}},
		"maintenance counts as flapping": {false, nil, func(r *rig) {
			r.boot()
			for n := range flapLimit - 1 {
				if got := r.after(10 * time.Second).step(r.ask(hooks.Role(1 - n%2))); strings.Contains(got, "log") {
					r.t.Error(got)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) { c.f(newRig(t, c.replicated, c.wans...)) })
	}
}

// What a report says of the replication: a commit that failed is not forgotten
// because the resync after it succeeds.
func TestReplicationInReport(t *testing.T) {
	r := newRig(t, true)
	says := func(state string, warnings ...string) {
		t.Helper()
		rep := r.m.Report(r.now, wallClock)
		if rep.Conntrackd != state || len(rep.Warnings) != len(warnings) {
			t.Errorf("%q, %q; want %q, %q", rep.Conntrackd, rep.Warnings, state, warnings)
			return
		}
		for i, w := range warnings {
			if !strings.Contains(rep.Warnings[i], w) {
				t.Errorf("%q lacks %q", rep.Warnings[i], w)
			}
		}
	}
	r.boot()
	says("ok")
	r.step(r.ask(hooks.Primary))
	r.step(Replicated{Job: Commit, Epoch: 2, Err: errTest})
	says("failing: no answer", "at the last failover")
	r.step(served(2))
	r.step(reached(0, 2))
	r.step(Replicated{Job: Resume, Epoch: 2})
	says("ok", "at the last failover")
	r.step(r.ask(hooks.Backup))
	says("ok")
	r.step(Replicated{Job: Resume, Epoch: 2, Err: errTest}) // late
	says("ok")
	r.step(Replicated{Job: Yield, Epoch: 3, Err: errTest})
	says("failing: no answer") // what that means for a backup, package fitness says
	r.step(r.ask(hooks.Primary))
	says("ok")
	r.step(ReplicaHealth{errTest})
	says("failing: no answer", "at the next failover")
	r.step(ReplicaHealth{})
	says("ok")
	if rep := newRig(t, false).m.Report(0, wallClock); rep.Conntrackd != "off" {
		t.Errorf("%q", rep.Conntrackd)
	}
}

// Phases count from the start of the transition, whoever has begun when.
func TestPhases(t *testing.T) {
	r := newRig(t, true)
	r.boot()
	r.after(time.Second).step(r.ask(hooks.Primary))
	start := r.now
	r.after(2 * time.Millisecond).step(Replicated{Job: Commit, Epoch: 2, Took: time.Millisecond, Ended: start + time.Millisecond})
	r.step(Reached{0, wan.State{Epoch: 2, Settled: true, Since: start + time.Millisecond, Phases: []hooks.Phase{{Name: "address", At: 4 * time.Millisecond}}}})
	r.step(Served{Epoch: 2, Settled: true, Since: start, Phases: []hooks.Phase{{Name: "start dnsmasq", At: 3 * time.Millisecond}}})
	r.after(time.Second).step(Replicated{Job: Resume, Epoch: 2, Ended: start + 6*time.Millisecond}) // after the end
	want := []hooks.Phase{
		{Name: "conntrackd commit", Took: time.Millisecond, At: time.Millisecond},
		{Name: "start dnsmasq", At: 3 * time.Millisecond},
		{Name: "address", At: 5 * time.Millisecond},
		{Name: "conntrackd resync", At: 6 * time.Millisecond},
	}
	rep := r.m.Report(r.now, wallClock)
	last := rep.Transitions[len(rep.Transitions)-1]
	if !slices.Equal(last.Phases, want) || last.Took != 5*time.Millisecond || !last.At.Equal(wallClock(start)) || !rep.Since.Equal(wallClock(start)) {
		t.Errorf("got  %+v since %v\nwant %+v", last, rep.Since, want)
	}
	for range 20 {
		r.step(r.ask(hooks.Backup))
		r.step(r.ask(hooks.Primary))
	}
	if n := len(r.m.Report(r.now, wallClock).Transitions); n != remembered {
		t.Errorf("%d transitions", n)
	}
}

// What a hook is told.
func TestJudge(t *testing.T) {
	r := newRig(t, true)
	r.boot()
	e := r.ask(hooks.Primary)
	i := e.Intents[0]
	if r.m.Already(i) {
		t.Error("a backup is primary already")
	}
	r.step(e)
	a, done := r.m.Judge(i)
	if done || a.Outcome != hooks.Degraded || !slices.Contains(a.Problems, "wan: not begun yet") || !slices.Contains(a.Problems, "services: not done yet") {
		t.Errorf("%v %+v", done, a)
	}
	r.step(Reached{0, wan.State{Epoch: 2, Settled: true, Phases: []hooks.Phase{{Name: "address"}}, Since: r.now}})
	if a, done = r.m.Judge(i); done || len(a.Phases) != 1 {
		t.Errorf("%v %+v", done, a)
	}
	r.step(Served{Epoch: 2, Settled: true, Problems: []string{"start dnsmasq: broken"}})
	if a, done = r.m.Judge(i); !done || a.Outcome != hooks.Degraded || len(a.Phases) != 1 || !slices.Equal(a.Problems, []string{"start dnsmasq: broken"}) {
		t.Errorf("%v %+v", done, a)
	}
	r.step(served(2))
	if a, done = r.m.Judge(i); !done || a.Outcome != hooks.Reached {
		t.Errorf("%v %+v", done, a)
	}
	if r.m.Already(i) {
		t.Error("the very request that made it so was not needed")
	}
	if again := r.intent(hooks.Primary); !r.m.Already(again) || r.m.Knows(again) {
		t.Error("a primary is no primary already")
	}
	r.step(Reached{0, wan.State{Epoch: 2}})
	if r.m.Already(r.intent(hooks.Primary)) {
		t.Error("a primary without an address is primary already")
	}
	r.step(r.ask(hooks.Backup))
	if a, done = r.m.Judge(i); !done || a.Outcome != hooks.Superseded || a.Role != hooks.Backup {
		t.Errorf("%v %+v", done, a)
	}
}

// keepalived dies while its hook waits, or an instance overrules a request for all.
func TestJudgeOverruled(t *testing.T) {
	r := newRig(t, false)
	r.boot()
	e := r.of(hooks.Primary, "", 10, 0)
	r.step(e)
	r.step(Gone{process(10), Exited})
	r.step(served(3))
	r.step(reached(0, 3))
	a, done := r.m.Judge(e.Intents[0])
	if !done || a.Outcome != hooks.Degraded || !strings.Contains(strings.Join(a.Problems, "\n"), "stays backup: keepalived[10] "+Exited) {
		t.Errorf("%v %+v", done, a)
	}
}

// A role that was set by hand against what keepalived says is warned of, until
// keepalived ends, and says nothing more.
func TestDisputes(t *testing.T) {
	r := newRig(t, false)
	r.boot()
	r.step(r.of(hooks.Backup, "VI_1", 10, 0))
	r.step(r.ask(hooks.Primary))
	if rep := r.m.Report(r.now, wallClock); len(rep.VRRP) != 1 || !rep.VRRP[0].Alive || !strings.Contains(strings.Join(rep.Warnings, "\n"), "set by hand") {
		t.Errorf("%+v, %q", rep.VRRP, rep.Warnings)
	}
	r.step(Gone{process(10), Exited})
	if rep := r.m.Report(r.now, wallClock); len(rep.VRRP) != 1 || rep.VRRP[0].Alive || len(rep.Warnings) != 0 {
		t.Errorf("%+v, %q", rep.VRRP, rep.Warnings)
	}
	other := r.of(hooks.Backup, "VI_2", 11, 0)
	if got := r.step(other); !strings.HasPrefix(got, "watch 11 0s; unwatch 10") {
		t.Error(got)
	}
	// As recorded, after a restart of the keeper.
	r = newRig(t, false)
	r.do(Started{States: hooks.States(other.Intents)}, "watch 11 0s; fallback backup; serve 1 false; turned backup; order 0 1 backup")
}

// Decide is what keeper, hook, dry run and status go by.
func TestDecide(t *testing.T) {
	alive := func(hooks.Process) string { return "" }
	dead := func(p hooks.Process) string {
		if p.PID == 11 {
			return Exited
		}
		return ""
	}
	r := newRig(t, false)
	fifo := r.of(hooks.Primary, "", 10, 11).Intents
	if d := Decide(fifo, []string{""}, alive); d.Role != hooks.Primary || d.Token != fifo[0].Token {
		t.Errorf("%+v", d)
	}
	if d := Decide(fifo, []string{""}, dead); d.Role != hooks.Backup || d.Token != (hooks.Token{}) {
		t.Errorf("the reader of the FIFO is dead: %+v", d)
	}
	if d := Decide(fifo, nil, alive); d.Role != hooks.Primary {
		t.Errorf("without WANs: %+v", d)
	}
	if d := Decide(nil, []string{"", "VI_1"}, alive); d.Role != hooks.Backup || d.By != Nobody || len(d.WANs) != 2 {
		t.Errorf("nobody: %+v", d)
	}
	both := append(hooks.Intents{}, r.of(hooks.Backup, "VI_1", 0, 0).Intents[0], r.of(hooks.Primary, "VI_2", 0, 0).Intents[0])
	if d := Decide(both, []string{"VI_1", "VI_2"}, alive); d.Role != hooks.Primary || d.WANs[0].Role != hooks.Backup || !strings.Contains(d.By, "VI_2") {
		t.Errorf("one of two: %+v", d)
	}
}
