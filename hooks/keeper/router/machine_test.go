package router

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
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
			r.do(r.ask(intent.Primary), "")
			r.do(r.of(intent.Primary, "VI_1", 0, 0), "")
		}},
		"an older request counts": {true, nil, func(r *rig) {
			old := r.ask(intent.Backup)
			r.primary()
			r.do(old, "")
		}},
		"without replication something waits for it": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.ask(intent.Primary), "fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(reached(0, 2), "")
			r.do(served(2), "ended: is primary")
			r.do(r.ask(intent.Backup), "fallback backup; serve 3 false; turned backup; order 0 3 backup")
		}},
		"Resume comes before the address": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2")
			r.do(Reached{0, wan.State{Epoch: 2}}, "")
			r.do(reached(0, 1), "") // of the role before
			r.do(reached(0, 2), "resync 2")
			r.do(reached(0, 2), "") // once
		}},
		"a commit that hangs keeps the address out for good": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
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
			r.step(r.ask(intent.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2, Err: errTest}, "gate 0 2")
		}},
		"the commit of an older promotion opens the gate": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
			r.step(r.ask(intent.Backup))
			r.step(r.ask(intent.Primary))
			r.do(Replicated{Job: Commit, Epoch: 2}, "")
			r.do(Replicated{Job: Yield, Epoch: 3}, "")
			r.do(Replicated{Job: Resume, Epoch: 4}, "")
			r.do(Replicated{Job: Commit, Epoch: 4}, "gate 0 4")
		}},
		"a returning backup touches the replication": {true, nil, func(r *rig) {
			r.boot()
			r.do(r.of(intent.Backup, "VI_1", 10, 0), "watch 10")
		}},
		"a restarted keeper that finds a backup in place of a primary does not yield": {true, nil, func(r *rig) {
			r.do(Started{Found: []Found{{Held: true, Up: true}}}, "fallback backup; yield 1; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a restarted keeper yields for a mute link again": {true, nil, func(r *rig) {
			r.do(Started{Found: []Found{{Held: true}}}, "fallback backup; yield 1; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a restarted keeper commits anew": {true, nil, func(r *rig) {
			r.do(Started{Intents: intent.Intents{r.intent(intent.Primary)}, Found: []Found{{Held: true, Up: true}}},
				"fallback primary; serve 1 true; turned primary; order 0 1 primary open linger")
			r.do(served(1), "")
			r.do(reached(0, 1), "ended: is primary") // and it does not resume
		}},
		"a restarted keeper takes a mute link for its own connections": {true, nil, func(r *rig) {
			r.do(Started{Intents: intent.Intents{r.intent(intent.Primary)}, Found: []Found{{Held: true}}},
				"fallback primary; commit 1; serve 1 true; turned primary; order 0 1 primary linger")
		}},
		"a demotion does not yield": {true, nil, func(r *rig) {
			r.primary()
			r.do(r.ask(intent.Backup), "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger")
			r.do(reached(0, 3), "")
			r.do(served(3), "ended: is backup")
		}},
		"a promotion that is taken back stays on its way": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
			r.do(r.ask(intent.Backup), "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger; ended: superseded on the way to primary")
		}},
		"a keepalived that died counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(intent.Primary, "", 10, 0), "watch 10; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(Gone{process(11), Exited}, "")
			r.do(Gone{process(10), Exited}, "fallback backup; serve 3 false; turned backup; order 0 3 backup; ended: superseded on the way to primary")
			if r.m.by != "keepalived[10] "+Exited {
				r.t.Errorf("by %q", r.m.by)
			}
			r.do(Gone{process(10), "is being stopped"}, "")
			r.do(r.of(intent.Primary, "", 12, 0), "watch 12; unwatch 10; fallback primary; serve 4 true; turned primary; order 0 4 primary open; ended: superseded on the way to backup")
		}},
		"a dead reader of the FIFO counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(intent.Primary, "", 10, 11), "watch 10; watch 11; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			r.do(Gone{process(11), Exited}, "fallback backup; serve 3 false; turned backup; order 0 3 backup; ended: superseded on the way to primary")
			if !strings.Contains(r.m.by, "reload keepalived") {
				r.t.Errorf("by %q", r.m.by)
			}
		}},
		"the reader of a backup's FIFO is not watched, or longer than its keepalived": {false, nil, func(r *rig) {
			r.boot()
			e := r.of(intent.Backup, "", 10, 11)
			e.Intents[0].FIFO = "/fifo"
			r.do(e, "watch 10; watch 11 /fifo")
			r.do(Gone{process(10), Exited}, "unwatch 11")
			// Another keepalived has the same FIFO, and a reader of its own.
			e = r.of(intent.Primary, "", 20, 21)
			e.Intents[0].FIFO = "/fifo"
			r.do(e, "watch 20; watch 21 /fifo; unwatch 10; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
		}},
		"a request of a dead keepalived makes a primary for a moment": {false, nil, func(r *rig) {
			r.boot()
			e := r.of(intent.Primary, "", 10, 11)
			e.Ended = []intent.Process{process(10)}
			r.do(e, "")
		}},
		"the keeper goes on with the FIFO of a keepalived that has ended": {false, nil, func(r *rig) {
			r.boot()
			e := r.of(intent.Primary, "", 10, 11)
			e.Intents[0].FIFO = "/fifo"
			r.do(e, "watch 10; watch 11 /fifo; fallback primary; serve 2 true; turned primary; order 0 2 primary open")
			// The next keepalived has a reader of its own, which could not read.
			r.do(Gone{process(10), Exited}, "unwatch 11; fallback backup; serve 3 false; turned backup; order 0 3 backup; ended: superseded on the way to primary")
		}},
		"a record of a dead keepalived makes a primary for a moment": {false, nil, func(r *rig) {
			e := r.of(intent.Primary, "", 10, 0)
			r.do(Started{Intents: e.Intents, Ended: []intent.Process{process(10)}}, "fallback backup; serve 1 false; turned backup; order 0 1 backup")
		}},
		"the death of a keepalived that asked for backup counts": {false, nil, func(r *rig) {
			r.boot()
			r.do(r.of(intent.Backup, "", 10, 11), "watch 10")
			r.do(Gone{process(10), Exited}, "")
		}},
		"a person's request ends with a keepalived": {false, nil, func(r *rig) {
			r.boot()
			r.step(r.of(intent.Primary, "", 10, 0))
			r.do(r.ask(intent.Primary), "")
			r.do(Gone{process(10), Exited}, "")
		}},
		"services stop although another WAN stays primary": {true, two, func(r *rig) {
			r.do(Started{}, "fallback backup; serve 1 false; turned backup; order 0 1 backup linger; order 1 1 backup linger")
			r.do(r.of(intent.Primary, "VI_1", 0, 0), "fallback primary; commit 2; serve 2 true; turned primary; order 0 2 primary linger; ended: superseded on the way to backup")
			r.do(r.of(intent.Primary, "VI_2", 0, 0), "order 1 2 primary linger") // more of the same transition
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2; gate 1 2")
			r.do(served(2), "")
			r.do(reached(0, 2), "resync 2")
			r.do(reached(1, 2), "ended: is primary")
			r.do(r.of(intent.Backup, "VI_1", 0, 0), "order 0 3 backup linger")
			r.do(reached(0, 3), "ended: is primary")
			r.do(r.of(intent.Backup, "VI_2", 0, 0), "fallback backup; yield 4; serve 4 false; turned backup; order 1 4 backup linger")
		}},
		"a WAN that follows later waits for a gate that is open": {true, two, func(r *rig) {
			r.step(Started{})
			r.step(r.of(intent.Primary, "VI_1", 0, 0))
			r.step(Replicated{Job: Commit, Epoch: 2})
			r.do(r.of(intent.Primary, "VI_2", 0, 0), "order 1 2 primary open linger")
		}},
		"a WAN that changes twice within a transition is lost": {true, two, func(r *rig) {
			r.step(Started{})
			r.step(r.of(intent.Primary, "VI_1", 0, 0))
			r.do(r.of(intent.Primary, "VI_2", 0, 0), "order 1 2 primary linger")
			r.do(r.of(intent.Backup, "VI_2", 0, 0), "order 1 3 backup linger; ended: superseded on the way to primary")
			r.do(r.of(intent.Primary, "VI_2", 0, 0), "order 1 4 primary linger; ended: superseded on the way to primary")
			r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2; gate 1 4")
		}},
		"a request of another instance counts": {true, two, func(r *rig) {
			r.step(Started{})
			r.do(r.of(intent.Primary, "VI_3", 0, 0), "")
			r.do(r.ask(intent.Primary), "fallback primary; commit 2; serve 2 true; turned primary; order 0 2 primary linger; order 1 2 primary linger; ended: superseded on the way to backup")
		}},
		"an older request for all deletes a newer one for one instance": {false, two, func(r *rig) {
			r.step(Started{})
			all := r.ask(intent.Backup)
			r.do(r.of(intent.Primary, "VI_1", 0, 0), "fallback primary; serve 2 true; turned primary; order 0 2 primary open; ended: superseded on the way to backup")
			r.do(all, "")
			if r.m.Role() != intent.Primary {
				r.t.Error("backup")
			}
		}},
		"release gives the lease back without being asked": {true, nil, func(r *rig) {
			r.primary()
			e := r.ask(intent.Backup)
			e.Release = true
			r.do(e, "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger release")
			r.step(r.ask(intent.Primary))
			r.do(r.ask(intent.Backup), "fallback backup; yield 5; serve 5 false; turned backup; order 0 5 backup linger; ended: superseded on the way to primary")
		}},
		"a boot without a request releases": {true, nil, func(r *rig) {
			r.do(Started{Intents: intent.Intents{}}, "fallback backup; serve 1 false; turned backup; order 0 1 backup linger")
		}},
		"a transition ends before its services": {true, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
			r.do(reached(0, 2), "resync 2")
			r.do(served(1), "")
			r.do(Served{Epoch: 2}, "")
			r.do(served(2), "ended: is primary")
		}},
		"the MAC moved, and a backup announces it": {true, two, func(r *rig) {
			r.step(Started{})
			r.do(LowerAdvert{}, "")
			r.step(r.of(intent.Primary, "VI_2", 0, 0))
			r.do(LowerAdvert{"VI_1", "x"}, "")
			r.do(LowerAdvert{"VI_2", "x"}, "announce 1") // its promotion commits and resumes anyway
			r.do(LowerAdvert{"", "x"}, "announce 1")
		}},
		"connections that went on elsewhere are not taken back": {true, nil, func(r *rig) {
			r.primary()
			r.step(Replicated{Job: Resume, Epoch: 2})
			r.do(LowerAdvert{}, "announce 0; commit 2")
			r.do(Replicated{Job: Commit, Epoch: 2}, "resync 2")
			r.do(Replicated{Job: Resume, Epoch: 2}, "")
			r.do(LowerAdvert{}, "announce 0; commit 2")
			r.do(LowerAdvert{}, "announce 0") // once more, later
			r.do(LowerAdvert{}, "announce 0")
			r.do(Replicated{Job: Commit, Epoch: 2}, "resync 2")
			r.do(Replicated{Job: Resume, Epoch: 2}, "commit 2")
			r.do(Replicated{Job: Commit, Epoch: 2, Err: errTest}, "resync 2")
			r.do(Replicated{Job: Resume, Epoch: 2}, "")
			rep := r.m.Report(r.now, wallClock)
			if last := rep.Transitions[len(rep.Transitions)-1]; len(last.Phases) != 2 {
				r.t.Errorf("phases of the transition: %+v", last.Phases)
			}
			r.do(LowerAdvert{}, "announce 0; commit 2")
			r.do(r.ask(intent.Backup), "fallback backup; yield 3; serve 3 false; turned backup; order 0 3 backup linger")
			r.do(Replicated{Job: Commit, Epoch: 2}, "")
			r.do(Replicated{Job: Yield, Epoch: 3}, "")
			r.do(LowerAdvert{}, "")
		}},
		"without replication something is taken back": {false, nil, func(r *rig) {
			r.boot()
			r.step(r.ask(intent.Primary))
			r.step(reached(0, 2))
			r.do(LowerAdvert{}, "announce 0")
		}},
		"a change of one WAN is said to be another one's": {true, two, func(r *rig) {
			r.step(Started{})
			r.step(r.of(intent.Primary, "VI_1", 0, 0))
			r.step(r.of(intent.Primary, "VI_2", 0, 0))
			r.step(r.of(intent.Backup, "VI_1", 0, 0))
			if by := r.m.current.By; !strings.Contains(by, "VI_1 BACKUP") {
				r.t.Errorf("by %q", by)
			}
		}},
		"a router without a WAN does nothing, or does not say why": {true, []WAN{}, func(r *rig) {
			r.do(Started{}, "fallback backup; serve 1 false; turned backup")
			if by := r.m.current.By; by != Nobody {
				r.t.Errorf("by %q", by)
			}
			r.do(Requested{Release: true}, "")
		}},
		"flapping is warned of for each change, or not at all": {false, nil, func(r *rig) {
			r.boot()
			warnings := func() (n int) {
				for _, w := range r.m.Report(r.now, wallClock).Warnings {
					if strings.HasPrefix(w, "the role changed ") {
						n++
					}
				}
				return n
			}
			flap := func(times int) (logged int) {
				for range times {
					role := intent.Primary - r.m.Role()
					logged += strings.Count(r.after(time.Second).step(r.ask(role)), "log the role changed")
				}
				return logged
			}
			if n := flap(flapLimit - 1); n != 0 || warnings() != 0 {
				r.t.Errorf("maintenance counts as flapping: %d, %d", n, warnings())
			}
			if n := flap(12); n != 1 || warnings() != 1 {
				r.t.Errorf("warned %d times in the log, %d in the report", n, warnings())
			}
			if rep := r.m.Report(r.now, wallClock); rep.Changes != flapLimit-1+12 {
				r.t.Errorf("%d changes", rep.Changes)
			}
			r.after(flapWindow - (flapLimit-1)*time.Second)
			if warnings() != 1 {
				r.t.Errorf("the last %d of them are within %v", flapLimit, flapWindow)
			}
			r.after(time.Nanosecond)
			if warnings() != 0 {
				r.t.Error("it is over")
			}
			if n := flap(flapLimit - 1); n != 0 {
				r.t.Errorf("changes of long ago count: %d", n)
			}
			r.after(2 * flapWindow)
			if n := flap(flapLimit); n != 1 {
				r.t.Errorf("the second time it warned %d times", n)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) { c.f(newRig(t, c.replicated, c.wans...)) })
	}
}
