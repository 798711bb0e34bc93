package router

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// world keeps account of what a machine orders, and of what must hold.
type world struct {
	m    *Machine
	now  time.Duration
	next func() byte

	orders  []wan.Order
	open    []bool
	serve   Serve
	role    intent.Role
	turned  bool
	job     Replicate     // ordered last
	commits time.Duration // when the last commit was ordered
	done    bool          // it has ended
	reached bool          // a WAN has reached primary since
	lower   bool          // a lower advert was received
	watched map[intent.Process]bool
	known   intent.Intents
	dead    map[intent.Process]bool
	trace   []string
}

type violation string

func (w *world) must(ok bool, format string, args ...any) {
	if !ok {
		panic(violation(fmt.Sprintf(format, args...)))
	}
}

func (w *world) step(e Event) {
	w.trace = append(w.trace, fmt.Sprintf("%v %T %+v", w.now, e, e))
	for _, a := range w.m.Step(w.now, e) {
		w.trace = append(w.trace, fmt.Sprintf("    %T %+v", a, a))
		w.execute(a)
	}
	d := Decide(w.known, w.m.instances, func(p intent.Process) string {
		if w.dead[p] {
			return Exited
		}
		return ""
	})
	for i, v := range d.WANs {
		w.must(w.orders[i].Role == v.Role, "WAN %d is ordered to be %s, want %s", i, w.orders[i].Role, v.Role)
	}
	w.must(w.role == d.Role && w.serve.Up == (d.Role == intent.Primary), "the router is %s and serves: %v, want %s", w.role, w.serve.Up, d.Role)
}

func (w *world) execute(a Action) {
	switch a := a.(type) {
	case Order:
		before := w.orders[a.WAN]
		w.must(before.Epoch == 0 || a.Order.Role != before.Role, "WAN %d is ordered the same again", a.WAN)
		w.must(a.Order.Epoch > before.Epoch, "epoch %d after %d", a.Order.Epoch, before.Epoch)
		w.must(!a.Order.Open || w.gateMayOpen(), "an order with an open gate before the commit has ended")
		w.must(!a.Order.Release || a.Order.Role == intent.Backup, "a primary releases")
		w.orders[a.WAN], w.open[a.WAN] = a.Order, a.Order.Open
	case OpenGate:
		w.must(w.gateMayOpen(), "the gate opens before the commit has ended")
		w.must(w.orders[a.WAN].Epoch == a.Epoch && w.orders[a.WAN].Role == intent.Primary && !w.open[a.WAN], "a gate that nobody waits at opens")
		w.open[a.WAN] = true
	case Serve:
		w.must(a.Epoch > w.serve.Epoch, "services are ordered anew in the same epoch")
		w.serve = a
	case Turned:
		w.must(!w.turned || a.Role != w.role, "the router turns to what it is")
		w.role, w.turned = a.Role, true
	case Replicate:
		switch a.Job {
		case Commit:
			if w.role == intent.Primary && w.turned { // of a reclaim
				w.must(w.lower && w.reached && a.Epoch == w.serve.Epoch, "a primary commits")
				break
			}
			w.commits, w.done, w.reached = w.now, false, false
		case Resume:
			w.must(w.role == intent.Primary && w.job == Replicate{Commit, a.Epoch} && w.reached, "Resume after %+v, an address is there: %v", w.job, w.reached)
		case Yield:
			w.must(w.role == intent.Primary, "a backup yields")
		}
		w.job = a
	case Watch:
		w.must(!w.watched[a.Process], "%v is watched twice", a.Process)
		w.watched[a.Process] = true
	case Unwatch:
		delete(w.watched, a.Process)
	}
}

func (w *world) gateMayOpen() bool { return w.done || w.now >= w.commits+CommitLimit }

// intent is a request, sometimes an older one.
func (w *world) intent() intent.Intent {
	i := intent.Intent{Role: intent.Role(w.next() % 2), Token: intent.Token{Ticks: uint64(w.now/time.Millisecond) - uint64(w.next()%8)*100, PID: int(w.next())}}
	i.Scope = []string{"", "VI_1", "VI_2", "VI_3"}[w.next()%4]
	if w.next()%2 == 0 {
		i.Owner = process(int(w.next()%4) + 1)
	}
	if i.Owner != (intent.Process{}) && w.next()%4 == 0 {
		i.Channel = process(int(w.next()%4) + 10)
	}
	return i
}

func (w *world) happen() {
	switch w.next() % 9 {
	case 0, 1, 2:
		i := w.intent()
		e := Requested{Intents: []intent.Intent{i}, Release: i.Role == intent.Backup && w.next()%8 == 0}
		for _, p := range []intent.Process{i.Owner, i.Channel} {
			if w.dead[p] {
				e.Ended = append(e.Ended, p)
			}
		}
		w.known, _ = w.known.With(i)
		w.step(e)
	case 3:
		p := process(int(w.next()%4) + 1 + 9*int(w.next()%2))
		if w.watched[p] {
			w.dead[p] = true
			w.step(Gone{p, Exited})
		}
	case 4:
		i := int(w.next()) % len(w.orders)
		o := w.orders[i]
		settled := w.next()%2 == 0 && (o.Role == intent.Backup || w.open[i])
		if w.next()%4 == 0 {
			o.Epoch--
		} else if settled && o.Role == intent.Primary {
			w.reached = true
		}
		w.step(Reached{i, wan.State{Epoch: o.Epoch, Settled: settled}})
	case 5:
		w.step(Served{Epoch: w.serve.Epoch - int(w.next()%2), Settled: w.next()%2 == 0})
	case 6:
		if w.job.Job != "" {
			late := int(w.next() % 2)
			if w.job.Job == Commit && late == 0 {
				w.done = true
			}
			w.step(Replicated{Job: w.job.Job, Epoch: w.job.Epoch - late, Ended: w.now})
		}
	case 7:
		w.lower = true
		w.step(LowerAdvert{Scope: []string{"", "VI_1", "VI_3"}[w.next()%3]})
	default:
		w.now += time.Duration(w.next()) * 20 * time.Millisecond
		if w.m.Wake() <= w.now {
			w.step(Woke{})
		}
	}
}

func try(next func() byte, n int) (violated string, trace []string) {
	wans := []WAN{{"a", "VI_1"}, {"b", "VI_2"}, {"c", ""}}
	w := &world{
		m: New(Config{WANs: wans, Replicated: true}, nil), now: time.Hour, next: next,
		orders: make([]wan.Order, len(wans)), open: make([]bool, len(wans)),
		watched: map[intent.Process]bool{}, dead: map[intent.Process]bool{}, commits: -time.Hour,
	}
	defer func() {
		if v, ok := recover().(violation); ok {
			violated, trace = string(v), w.trace
		}
	}()
	w.step(Started{})
	for range n {
		w.happen()
	}
	return "", nil
}

// Whatever happens in whatever order, what the package comment lists holds.
func TestInvariants(t *testing.T) {
	for seed := range uint64(1_000) {
		dice := rand.New(rand.NewPCG(seed, 2))
		if v, trace := try(func() byte { return byte(dice.Uint32()) }, 40); v != "" {
			t.Fatalf("seed %d: %s\n%s", seed, v, tail(trace))
		}
	}
}

func tail(trace []string) (text string) {
	for _, line := range trace[max(0, len(trace)-40):] {
		text += line + "\n"
	}
	return text
}

func FuzzInvariants(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := len(raw)
		next := func() (b byte) {
			if len(raw) > 0 {
				b, raw = raw[0], raw[1:]
			}
			return b
		}
		if v, trace := try(next, n); v != "" {
			t.Fatalf("%s\n%s", v, tail(trace))
		}
	})
}
