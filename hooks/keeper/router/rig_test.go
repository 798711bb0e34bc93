package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// rig takes a machine through events and notes what it does, in short words.
type rig struct {
	t   *testing.T
	m   *Machine
	now time.Duration
	seq uint64
}

var oneWAN = []WAN{{Name: "wan"}}

func newRig(t *testing.T, replicated bool, wans ...WAN) *rig {
	if wans == nil {
		wans = oneWAN
	}
	return &rig{t: t, m: New(Config{WANs: wans, Replicated: replicated}, []control.Service{{Name: "dnsmasq"}}), now: time.Hour}
}

func (r *rig) do(event Event, want string) {
	r.t.Helper()
	if got := r.step(event); got != want {
		r.t.Errorf("after %s: %s\nwant: %s", strings.TrimPrefix(fmt.Sprintf("%T", event), "router."), got, want)
	}
}

func (r *rig) step(event Event) string {
	var got []string
	begun := false
	for _, a := range r.m.Step(r.now, event) {
		switch a := a.(type) {
		case Begin:
			begun = true
		case SetFallback:
			got = append(got, "fallback "+a.Role.String())
		case Replicate:
			got = append(got, fmt.Sprintf("%s %d", strings.TrimPrefix(string(a.Job), "conntrackd "), a.Epoch))
		case Serve:
			got = append(got, fmt.Sprintf("serve %d %v", a.Epoch, a.Up))
		case Turned:
			got = append(got, "turned "+a.Role.String())
		case Order:
			if !begun {
				r.t.Errorf("%+v, and no transition has begun", a)
			}
			what := fmt.Sprintf("order %d %d %s", a.WAN, a.Order.Epoch, a.Order.Role)
			if a.Order.Open {
				what += " open"
			}
			if a.Order.Linger > 0 {
				what += " linger"
			}
			if a.Order.Release {
				what += " release"
			}
			got = append(got, what)
		case OpenGate:
			got = append(got, fmt.Sprintf("gate %d %d", a.WAN, a.Epoch))
		case Announce:
			got = append(got, fmt.Sprintf("announce %d", a.WAN))
		case Watch:
			got = append(got, strings.TrimSpace(fmt.Sprintf("watch %d %s", a.Process.PID, a.FIFO)))
		case Unwatch:
			got = append(got, fmt.Sprintf("unwatch %d", a.Process.PID))
		case Ended:
			got = append(got, "ended: "+a.Text)
		case Log:
			got = append(got, "log "+a.Text)
		}
	}
	return strings.Join(got, "; ")
}

func (r *rig) after(d time.Duration) *rig { r.now += d; return r }

// intent is newer than all before.
func (r *rig) intent(role intent.Role) intent.Intent {
	r.seq++
	return intent.Intent{Role: role, State: strings.ToUpper(role.String()), Token: intent.Token{Ticks: r.seq}}
}

// ask is a request by hand.
func (r *rig) ask(role intent.Role) Requested {
	return Requested{Intents: []intent.Intent{r.intent(role)}}
}

// of is one of an instance, by keepalived.
func (r *rig) of(role intent.Role, scope string, owner, channel int) Requested {
	i := r.intent(role)
	i.Scope = scope
	if owner > 0 {
		i.Owner = process(owner)
	}
	if channel > 0 {
		i.Channel = process(channel)
	}
	return Requested{Intents: []intent.Intent{i}}
}

func process(pid int) intent.Process { return intent.Process{PID: pid, Start: 1} }

// reached reports that a WAN has reached its order.
func reached(n, epoch int) Reached {
	return Reached{n, wan.State{Epoch: epoch, Settled: true}}
}

func served(epoch int) Served { return Served{Epoch: epoch, Settled: true} }

// boot is a router after its start.
func (r *rig) boot() {
	r.t.Helper()
	linger := ""
	if r.m.config.Replicated {
		linger = " linger"
	}
	r.do(Started{}, "fallback backup; serve 1 false; turned backup; order 0 1 backup"+linger)
	r.do(served(1), "")
	r.do(reached(0, 1), "ended: is backup")
}

// primary is one that was promoted.
func (r *rig) primary() {
	r.t.Helper()
	r.boot()
	r.do(r.ask(intent.Primary), "fallback primary; commit 2; serve 2 true; turned primary; order 0 2 primary linger")
	r.do(Replicated{Job: Commit, Epoch: 2}, "gate 0 2")
	r.do(served(2), "")
	r.do(reached(0, 2), "resync 2; ended: is primary")
}
