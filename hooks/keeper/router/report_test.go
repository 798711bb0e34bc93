package router

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

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
	r.step(r.ask(intent.Primary))
	r.step(Replicated{Job: Commit, Epoch: 2, Err: errTest})
	says("failing: no answer", "at the last failover")
	r.step(served(2))
	r.step(reached(0, 2))
	r.step(Replicated{Job: Resume, Epoch: 2})
	says("ok", "at the last failover")
	r.step(r.ask(intent.Backup))
	says("ok")
	r.step(Replicated{Job: Resume, Epoch: 2, Err: errTest}) // late
	says("ok")
	r.step(Replicated{Job: Yield, Epoch: 3, Err: errTest})
	says("failing: no answer") // what that means for a backup, package fitness says
	r.step(r.ask(intent.Primary))
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
	r.after(time.Second).step(r.ask(intent.Primary))
	start := r.now
	r.after(2 * time.Millisecond).step(Replicated{Job: Commit, Epoch: 2, Took: time.Millisecond, Ended: start + time.Millisecond})
	r.step(Reached{0, wan.State{Epoch: 2, Settled: true, Since: start + time.Millisecond, Phases: []control.Phase{{Name: "address", At: 4 * time.Millisecond}}}})
	r.step(Served{Epoch: 2, Settled: true, Since: start, Phases: []control.Phase{{Name: "start dnsmasq", At: 3 * time.Millisecond}}})
	r.after(time.Second).step(Replicated{Job: Resume, Epoch: 2, Ended: start + 6*time.Millisecond}) // after the end
	want := []control.Phase{
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
		r.step(r.ask(intent.Backup))
		r.step(r.ask(intent.Primary))
	}
	if n := len(r.m.Report(r.now, wallClock).Transitions); n != remembered {
		t.Errorf("%d transitions", n)
	}
}

// What a report has of WANs, services and transitions, from the first moment on.
func TestReport(t *testing.T) {
	r := newRig(t, false, WAN{"a", "VI_1"}, WAN{"b", "VI_2"})
	found := control.WAN{Name: "a", State: control.StateUnattended}
	is := intent.Intents(r.of(intent.Primary, "VI_1", 0, 0).Intents)
	r.step(Started{Intents: is, Found: []Found{{State: found, Up: true}, {State: control.WAN{Name: "b"}}}})
	rep := r.m.Report(r.now, wallClock)
	if rep.Role != intent.Primary || len(rep.WANs) != 2 || rep.WANs[0].State != control.StateUnattended || rep.WANs[0].Role != intent.Primary || rep.WANs[1].Role != intent.Backup {
		t.Errorf("not begun: %+v", rep)
	}
	if len(rep.Services) != 1 || !rep.Services[0].Pending || len(rep.Warnings) != 0 {
		t.Errorf("not begun: %+v, %q", rep.Services, rep.Warnings)
	}
	r.step(Reached{0, wan.State{Epoch: 1, Settled: true, WAN: control.WAN{Name: "a", Role: intent.Backup}}}) // as it says itself
	r.step(Served{Epoch: 1, Settled: true, Services: []control.Service{{Name: "dnsmasq", Running: true}, {Name: "odhcpd", Pending: true}}, Problems: []string{"start odhcpd: slow"}})
	rep = r.m.Report(r.now, wallClock)
	if rep.WANs[0].Role != intent.Backup || rep.Services[0].Pending || !rep.Services[1].Pending || !slices.Equal(rep.Warnings, []string{"start odhcpd: slow"}) {
		t.Errorf("reached: %+v", rep)
	}

	// One that is overtaken keeps what was reached and what was missing.
	r.after(time.Second).step(r.ask(intent.Backup))
	rep = r.m.Report(r.now, wallClock)
	last := rep.Transitions[len(rep.Transitions)-1]
	if len(rep.Transitions) != 1 || last.Took != time.Second || !slices.Equal(last.Problems, []string{"b: not begun yet", "start odhcpd: slow", "superseded before it was complete"}) {
		t.Errorf("overtaken: %+v", rep.Transitions)
	}
	if !rep.Services[0].Pending || len(rep.Warnings) != 0 {
		t.Errorf("overtaken: %+v, %q", rep.Services, rep.Warnings)
	}
	r.step(Reached{0, wan.State{Epoch: 2, Problems: []string{"a: stuck"}}})
	if a, done := r.m.Judge(r.m.Intents()[0]); done || !slices.Contains(a.Problems, "a: stuck") {
		t.Errorf("%v %+v", done, a)
	}
}

// Two WANs that are primary at the same moment make the router resume once.
func TestResumeOnce(t *testing.T) {
	r := newRig(t, true, WAN{"a", ""}, WAN{"b", ""})
	r.step(Started{})
	r.step(r.ask(intent.Primary))
	jobs := 0
	for _, a := range r.m.Step(r.now, reached(0, 2), reached(1, 2)) {
		if j, ok := a.(Replicate); ok && j.Job == Resume {
			jobs++
		}
	}
	if jobs != 1 {
		t.Errorf("%d times", jobs)
	}
}

// What a hook is told.
func TestJudge(t *testing.T) {
	r := newRig(t, true)
	r.boot()
	e := r.ask(intent.Primary)
	i := e.Intents[0]
	if r.m.Already(i) {
		t.Error("a backup is primary already")
	}
	r.step(e)
	a, done := r.m.Judge(i)
	if done || a.Outcome != control.Degraded || !slices.Contains(a.Problems, "wan: not begun yet") || !slices.Contains(a.Problems, "services: not done yet") {
		t.Errorf("%v %+v", done, a)
	}
	r.step(Reached{0, wan.State{Epoch: 2, Settled: true, Phases: []control.Phase{{Name: "address"}}, Since: r.now}})
	if a, done = r.m.Judge(i); done || len(a.Phases) != 1 {
		t.Errorf("%v %+v", done, a)
	}
	r.step(Served{Epoch: 2, Settled: true, Problems: []string{"start dnsmasq: broken"}})
	if a, done = r.m.Judge(i); !done || a.Outcome != control.Degraded || len(a.Phases) != 1 || !slices.Equal(a.Problems, []string{"start dnsmasq: broken"}) {
		t.Errorf("%v %+v", done, a)
	}
	r.step(served(2))
	if a, done = r.m.Judge(i); !done || a.Outcome != control.Reached {
		t.Errorf("%v %+v", done, a)
	}
	if r.m.Already(i) {
		t.Error("the very request that made it so was not needed")
	}
	if again := r.intent(intent.Primary); !r.m.Already(again) || r.m.intents.Holds(again) {
		t.Error("a primary is no primary already")
	}
	r.step(Reached{0, wan.State{Epoch: 2}})
	if a, done := r.m.Judge(i); done || a.Outcome != control.Reached {
		t.Errorf("without an address: %v %+v", done, a)
	}
	if r.m.Already(r.intent(intent.Primary)) {
		t.Error("a primary without an address is primary already")
	}
	r.step(r.ask(intent.Backup))
	if a, done = r.m.Judge(i); !done || a.Outcome != control.Superseded || a.Role != intent.Backup {
		t.Errorf("%v %+v", done, a)
	}
}

// keepalived exits while its hook waits, or an instance overrides a request for all.
func TestJudgeOverruled(t *testing.T) {
	r := newRig(t, false)
	r.boot()
	e := r.of(intent.Primary, "", 10, 0)
	r.step(e)
	r.step(Gone{process(10), Exited})
	r.step(served(3))
	r.step(reached(0, 3))
	a, done := r.m.Judge(e.Intents[0])
	if !done || a.Outcome != control.Degraded || !strings.Contains(strings.Join(a.Problems, "\n"), "stays backup: keepalived[10] "+Exited) {
		t.Errorf("%v %+v", done, a)
	}
}

// A role that was set by hand against what keepalived says is warned of, until
// keepalived ends, and says nothing more.
func TestDisputes(t *testing.T) {
	r := newRig(t, false)
	r.boot()
	r.step(r.of(intent.Backup, "VI_1", 10, 0))
	r.step(r.ask(intent.Primary))
	if rep := r.m.Report(r.now, wallClock); len(rep.VRRP) != 1 || !rep.VRRP[0].Alive || !strings.Contains(strings.Join(rep.Warnings, "\n"), "set by hand") {
		t.Errorf("%+v, %q", rep.VRRP, rep.Warnings)
	}
	r.step(Gone{process(10), Exited})
	if rep := r.m.Report(r.now, wallClock); len(rep.VRRP) != 1 || rep.VRRP[0].Alive || len(rep.Warnings) != 0 {
		t.Errorf("%+v, %q", rep.VRRP, rep.Warnings)
	}
	other := r.of(intent.Backup, "VI_2", 11, 0)
	if got := r.step(other); !strings.HasPrefix(got, "watch 11; unwatch 10") {
		t.Error(got)
	}
	// As recorded, after a restart of the keeper.
	r = newRig(t, false)
	r.do(Started{States: intent.States(other.Intents)}, "watch 11; fallback backup; serve 1 false; turned backup; order 0 1 backup")
}

// Decide is what keeper, hook, dry run and status go by.
func TestDecide(t *testing.T) {
	alive := func(intent.Process) string { return "" }
	dead := func(p intent.Process) string {
		if p.PID == 11 {
			return Exited
		}
		return ""
	}
	r := newRig(t, false)
	fifo := r.of(intent.Primary, "", 10, 11).Intents
	if d := Decide(fifo, []string{""}, alive); d.Role != intent.Primary || d.Token != fifo[0].Token {
		t.Errorf("%+v", d)
	}
	if d := Decide(fifo, []string{""}, dead); d.Role != intent.Backup || d.Token != (intent.Token{}) {
		t.Errorf("the reader of the FIFO is dead: %+v", d)
	}
	if d := Decide(fifo, nil, alive); d.Role != intent.Primary {
		t.Errorf("without WANs: %+v", d)
	}
	if d := Decide(nil, []string{"", "VI_1"}, alive); d.Role != intent.Backup || d.By != Nobody || len(d.WANs) != 2 {
		t.Errorf("nobody: %+v", d)
	}
	gone := func(intent.Process) string { return Exited }
	if d := Decide(r.of(intent.Backup, "", 10, 11).Intents, []string{""}, gone); !strings.HasPrefix(d.By, "keepalived[10] BACKUP") || d.Token == (intent.Token{}) {
		t.Errorf("a backup of a dead keepalived: %+v", d)
	}
	if d := Decide(r.ask(intent.Primary).Intents, []string{""}, gone); d.Role != intent.Primary {
		t.Errorf("a request by hand depends on no process: %+v", d)
	}
	backups := intent.Intents{r.of(intent.Backup, "VI_1", 0, 0).Intents[0], r.of(intent.Backup, "VI_2", 0, 0).Intents[0]}
	if d := Decide(backups, []string{"VI_1", "VI_2"}, alive); !strings.Contains(d.By, "VI_1") {
		t.Errorf("two backups: %+v", d)
	}
	primaries := intent.Intents{r.of(intent.Primary, "VI_1", 0, 0).Intents[0], r.of(intent.Primary, "VI_2", 0, 0).Intents[0]}
	if d := Decide(primaries, []string{"VI_1", "VI_2"}, alive); !strings.Contains(d.By, "VI_1") {
		t.Errorf("two primaries: %+v", d)
	}
	both := append(intent.Intents{}, r.of(intent.Backup, "VI_1", 0, 0).Intents[0], r.of(intent.Primary, "VI_2", 0, 0).Intents[0])
	if d := Decide(both, []string{"VI_1", "VI_2"}, alive); d.Role != intent.Primary || d.WANs[0].Role != intent.Backup || !strings.Contains(d.By, "VI_2") {
		t.Errorf("one of two: %+v", d)
	}
}
