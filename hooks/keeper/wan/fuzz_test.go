package wan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// world is a kernel, a DHCP client and a platform as far as a machine can tell,
// and what must hold between them (see the package comment).
type world struct {
	m    *Machine
	now  time.Duration
	next func() byte // where chance comes from

	order  Order
	begun  bool
	open   bool          // the gate of order
	muted  time.Duration // when it was muted for order, or for one before it; Never: it was not
	faulty bool          // a call may fail

	exists, quiet, foreign bool
	addr                   *dhcp.Lease // in the kernel
	applied                *dhcp.Lease // whose address was last applied, or found
	kept                   bool        // addr has been there since before the order, on a link that transmits
	unmuted                bool        // somebody unmuted the link while it lingered, or Mute failed
	client                 bool
	told                   *dhcp.Lease // published
	released               int
	lease                  *dhcp.Lease // remembered
	trace                  []string
}

func newWorld(next func() byte) *world {
	return &world{m: New(testWAN), now: time.Hour, next: next, muted: Never}
}

type violation string

func (w *world) must(ok bool, format string, args ...any) {
	if !ok {
		panic(violation(fmt.Sprintf(format, args...)))
	}
}

// step takes the machine through an event and executes what follows.
func (w *world) step(e Event) {
	for e != nil {
		w.trace = append(w.trace, fmt.Sprintf("%v %T", w.now, e))
		actions := w.m.Step(w.now, e)
		e = nil
		for i, a := range actions {
			if _, ok := a.(Log); !ok {
				w.trace = append(w.trace, fmt.Sprintf("    %T", a))
			}
			w.must(!IsCall(a) || i == len(actions)-1, "%T is not the last action", a)
			if d := w.execute(a); d != nil {
				e = *d
			}
		}
	}
}

func (w *world) fails() bool { return w.faulty && w.next()%4 == 0 }

// execute does an action and returns the result of a call.
func (w *world) execute(a Action) *Done {
	sends := w.order.Role == intent.Primary && w.begun
	switch a := a.(type) {
	case Apply:
		return w.apply(a, sends)
	case StartDHCP:
		w.must(sends && w.exists && !w.quiet, "DHCP starts as %s, on a link that transmits: %v", w.order.Role, w.exists && !w.quiet)
		w.must(!w.client, "a second DHCP client starts")
		if w.fails() {
			return &Done{Err: errTest}
		}
		w.client = true
	case Announce:
		w.must(sends && a.Lease != nil && w.applied == a.Lease, "announces what the kernel does not hold, as %s", w.order.Role)
		return nil
	case Mute:
		w.must(!sends, "a primary is muted")
		if w.fails() {
			w.unmuted = true
			return &Done{Err: errTest}
		}
		w.quiet, w.muted, w.kept, w.applied = w.exists && !w.foreign, w.now, false, nil
	case StopSending:
		w.client = false
		return nil
	case Publish:
		w.must(a.Lease == nil || sends, "a backup publishes a lease")
		w.told = a.Lease
		return nil
	case Release:
		w.must(w.order.Release && a.Lease != nil, "a lease is given back without an order")
		w.released++
		w.must(w.released == 1, "a lease is given back twice")
	case Purge:
		return w.purge(sends)
	case Observe:
		return w.observe()
	default:
		return nil
	}
	return &Done{Took: time.Millisecond}
}

func (w *world) apply(a Apply, sends bool) *Done {
	w.must(sends, "Apply as %s", w.order.Role)
	w.must(!w.exists || !w.quiet || w.open, "a mute link is to transmit before the gate")
	addressed := a.Desired.Addr.IsValid()
	w.must(!addressed || w.open || w.kept, "an address before the gate")
	if w.fails() {
		w.kept = false
		return &Done{Err: errTest}
	}
	d := Done{}
	if !w.exists {
		d.Changes.Created, w.exists, w.addr = true, true, nil
	}
	d.Changes.Unmuted, w.quiet = w.quiet, false
	if addressed {
		l := w.m.lease
		w.must(l != nil && l.Prefix == a.Desired.Addr, "an address without a lease")
		d.Changes.Addr = w.addr == nil || w.addr.Prefix != l.Prefix
		w.addr, w.kept, w.applied = l, true, l
	} else {
		w.addr, w.kept, w.applied = nil, false, nil
	}
	if d.Changes.Created || d.Changes.Addr || d.Changes.Unmuted {
		d.Changes.Steps = []string{"a step"}
	}
	return &d
}

func (w *world) purge(sends bool) *Done {
	w.must(!sends, "the link of a primary is deleted")
	lingers := w.exists && w.quiet && !w.unmuted && w.order.Linger > 0
	w.must(!lingers || w.now >= w.muted+w.order.Linger, "deleted %v after it was muted", w.now-w.muted)
	if w.fails() {
		w.unmuted = true // there is no reason to keep it any more
		return &Done{Err: errTest}
	}
	if w.foreign {
		return &Done{Err: netif.ErrForeign}
	}
	d := Done{Deleted: w.exists}
	w.exists, w.quiet, w.addr, w.kept = false, false, nil, false
	return &d
}

func (w *world) observe() *Done {
	if w.fails() {
		w.unmuted = true
		return &Done{Err: errTest}
	}
	o := netif.Observed{ParentExists: true, ParentUp: true, ParentCarrier: w.next()%4 != 0}
	if w.exists {
		o.Exists, o.Owned, o.Matches, o.Up, o.Carrier, o.Muted = true, !w.foreign, !w.foreign, true, o.ParentCarrier, w.quiet
		if w.addr != nil {
			o.Addresses = []netif.Address{{Prefix: w.addr.Prefix, Owned: true}}
		}
	}
	return &Done{Observed: o, Remembered: w.lease}
}

// happen is one thing that happens.
func (w *world) happen() {
	switch w.next() % 16 {
	case 0, 1:
		w.change(intent.Primary)
	case 2, 3:
		w.change(intent.Backup)
	case 4: // the same again
		if w.begun {
			again := w.order
			again.Epoch++
			again.Open = w.open
			before := len(w.trace)
			w.order = again
			w.step(Ordered{again})
			w.must(len(w.trace) == before+1, "the same role again does something")
		}
	case 5, 6:
		if w.begun && w.order.Role == intent.Primary {
			w.open = true
		}
		w.step(GateOpened{w.order.Epoch})
	case 7:
		w.step(GateOpened{w.order.Epoch - 1})
	case 8, 9:
		if w.client {
			w.lease = leased(fmt.Sprintf("192.0.2.%d/24", 5+w.next()%2), w.now)
			w.step(LeaseChanged{dhcp.Update{State: dhcp.Bound, Lease: w.lease}})
		}
	case 10:
		if w.client {
			w.step(LeaseChanged{dhcp.Update{State: dhcp.Init}})
		}
	case 11:
		if w.client && w.next()%4 == 0 {
			w.client = false
			w.step(ClientEnded{})
		} else {
			w.step(MACMoved{})
		}
	case 12:
		w.meddle()
		w.step(KernelChanged{w.next()%4 == 0})
	case 13:
		w.step(Refresh{})
	default:
		w.pass(time.Duration(w.next()) * 20 * time.Millisecond)
	}
}

// change orders a role.
func (w *world) change(role intent.Role) {
	o := Order{Epoch: w.order.Epoch + 1, Role: role, Open: role == intent.Primary && w.next()%2 == 0}
	if role == intent.Backup {
		o.Linger, o.Release = 2*time.Second, w.next()%8 == 0
	}
	if w.begun && w.order.Role == role {
		o.Linger = w.order.Linger
	} else {
		w.unmuted, w.released = false, 0
	}
	w.order, w.begun, w.open = o, true, o.Open
	w.step(Ordered{o})
}

// meddle is what other programs do.
func (w *world) meddle() {
	switch w.next() % 4 {
	case 0:
		if w.exists && !w.foreign {
			w.exists, w.quiet, w.addr = false, false, nil
		}
	case 1:
		w.quiet, w.unmuted = false, true
	case 2:
		w.addr = nil
	}
}

// pass lets time pass, with each wake-up on the way.
func (w *world) pass(d time.Duration) {
	end := w.now + d
	for n := 0; w.m.Wake() <= end; n++ {
		w.must(n < 1000, "woken without end")
		w.now = max(w.now, w.m.Wake())
		w.step(Woke{})
	}
	w.now = end
}

// settle lets everything work from now on and checks where it ends.
func (w *world) settle() {
	w.faulty = false
	if w.foreign {
		w.exists, w.foreign = false, false
	}
	if !w.begun {
		return
	}
	if w.order.Role == intent.Primary {
		w.open = true
		w.step(GateOpened{w.order.Epoch})
		w.pass(time.Minute)
		w.must(w.client && w.exists && !w.quiet, "a primary without a DHCP client")
		l := leased("192.0.2.7/24", w.now)
		w.step(LeaseChanged{dhcp.Update{State: dhcp.Bound, Lease: l}})
		w.pass(time.Minute)
		s := w.m.State()
		w.must(s.Settled && w.addr == l && w.told == l, "a primary does not get there: %+v", s)
		return
	}
	w.pass(time.Minute)
	s := w.m.State()
	w.must(s.Settled && s.Absent && !w.exists && !w.client && w.told == nil, "a backup does not get there: %+v", s)
}

// life is one sequence of events.
func (w *world) life(n int) {
	w.faulty = w.next()%2 == 0
	switch w.next() % 4 {
	case 0:
		w.step(Found{})
	case 1, 2:
		w.exists, w.quiet = true, w.next()%2 == 0
		w.lease = leased("192.0.2.5/24", w.now)
		w.addr, w.kept = w.lease, !w.quiet
		if w.kept {
			w.applied = w.lease
		}
		w.faulty, w.foreign = false, false
		d := w.observe()
		w.step(Found{d.Observed, d.Remembered})
		w.faulty = w.next()%2 == 0
	}
	if w.next()%16 == 0 && !w.exists {
		w.exists, w.foreign = true, true
	}
	for range n {
		w.happen()
	}
	w.settle()
}

// try runs a life and returns what it violates.
func try(next func() byte, n int) (violated string, trace []string) {
	w := newWorld(next)
	defer func() {
		if v, ok := recover().(violation); ok {
			violated, trace = string(v), w.trace
		}
	}()
	w.life(n)
	return "", nil
}

// Whatever happens in whatever order, what the package comment lists holds.
func TestInvariants(t *testing.T) {
	for seed := range uint64(2_000) {
		dice := rand.New(rand.NewPCG(seed, 1))
		if v, trace := try(func() byte { return byte(dice.Uint32()) }, 40); v != "" {
			t.Fatalf("seed %d: %s\n%s", seed, v, tail(trace))
		}
	}
}

func tail(trace []string) (text string) {
	for _, line := range trace[max(0, len(trace)-60):] {
		text += line + "\n"
	}
	return text
}

func FuzzInvariants(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 1, 5, 8, 14, 50, 2, 14, 200})
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

// What never works costs a bounded number of calls.
func TestNothingIsTriedWithoutAPause(t *testing.T) {
	for _, role := range []intent.Role{intent.Primary, intent.Backup} {
		m, now, calls := New(testWAN), time.Hour, 0
		run := func(e Event) {
			actions := m.Step(now, e)
			for len(actions) > 0 && IsCall(actions[len(actions)-1]) {
				calls++
				actions = m.Step(now, Done{Err: errTest})
			}
		}
		run(Ordered{Order{Epoch: 1, Role: role, Open: true}})
		for end := now + 10*time.Minute; m.Wake() < end; {
			now = max(now, m.Wake())
			run(Woke{})
		}
		// One each 30 s, the looks each 15 s, and the first ones.
		if calls > 20+40+20 {
			t.Errorf("%s: %d calls in 10 minutes", role, calls)
		}
	}
}
