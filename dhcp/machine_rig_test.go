package dhcp

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func testDice() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var (
	serverA = ip("192.0.2.1")
	serverB = ip("192.0.2.2")
)

// rig drives a machine by hand.
type rig struct {
	t    testing.TB
	m    *machine
	now  time.Duration
	last step
	sent []request
}

func newRig(t testing.TB, c Config, start evStart) *rig {
	r := &rig{t: t, m: newMachine(&c, testDice()), now: 1000 * time.Second}
	r.do(start)
	return r
}

func (r *rig) do(event any) step {
	r.last = r.m.handle(r.now, event)
	if r.last.send != nil {
		r.sent = append(r.sent, *r.last.send)
		if !r.last.listen {
			r.t.Fatalf("%v is sent, and no answer is awaited", r.last.send.kind)
		}
	}
	return r.last
}

// tick lets the time pass until the machine has something to do.
func (r *rig) tick() step {
	if r.last.wake == never {
		r.t.Fatalf("%v never wakes", r.m.state)
	}
	r.now = r.last.wake
	return r.do(evTick{})
}

// tickUntil ticks until the state is reached.
func (r *rig) tickUntil(s State) step {
	r.t.Helper()
	for range 100 {
		if r.m.state == s {
			return r.last
		}
		r.tick()
	}
	r.t.Fatalf("%v does not become %v", r.m.state, s)
	return step{}
}

func testLease(server netip.Addr, addr string) *Lease {
	return &Lease{
		Prefix: netip.PrefixFrom(ip(addr), 24), Broadcast: ip("192.0.2.255"), Server: server,
		Routes: []Route{{defaultDst, serverA}}, Gateway: serverA, TTL: time.Hour,
	}
}

// held is a remembered lease that was acquired age ago.
func (r *rig) held(age time.Duration) *Lease {
	l := testLease(serverA, "192.0.2.100")
	l.Acquired = r.now - age
	l.setTimers(testDice())
	return l
}

func (r *rig) msg(kind dhcpv4.MessageType, l *Lease) evMessage {
	m := message{kind: kind, xid: r.m.xid, server: serverA, lease: l}
	if l != nil {
		m.server = l.Server
	} else if kind != dhcpv4.MessageTypeNak {
		m.refusal = errors.New("a lease time of 0")
	}
	return evMessage{m}
}

func (r *rig) offer() evMessage {
	return r.msg(dhcpv4.MessageTypeOffer, testLease(serverA, "192.0.2.100"))
}

func (r *rig) ack() evMessage {
	return r.msg(dhcpv4.MessageTypeAck, testLease(serverA, "192.0.2.100"))
}
func (r *rig) nak() evMessage { return r.msg(dhcpv4.MessageTypeNak, nil) }

// reach makes a machine that has just entered the state.
func reach(t testing.TB, s State) *rig {
	t.Helper()
	probe := rig{now: 1000 * time.Second}
	switch s {
	case Init: // after a refusal, waiting
		r := reach(t, Requesting)
		r.do(r.nak())
		return r
	case Selecting:
		return newRig(t, Config{}, evStart{carrier: true})
	case Requesting:
		r := reach(t, Selecting)
		r.do(r.offer())
		return r
	case InitReboot: // without carrier
		r := newRig(t, Config{}, evStart{lease: probe.held(time.Minute), carrier: true})
		r.do(evCarrier{false})
		return r
	case Rebooting:
		return newRig(t, Config{}, evStart{lease: probe.held(time.Minute), carrier: true})
	case Bound:
		r := reach(t, Requesting)
		r.do(r.ack())
		return r
	case Renewing, Rebinding:
		r := reach(t, Bound)
		r.tickUntil(s)
		return r
	}
	panic(s)
}

func (r *rig) kinds() (all []requestKind) {
	for _, s := range r.sent {
		all = append(all, s.kind)
	}
	return all
}

func (r *rig) nakFrom(server netip.Addr) evMessage {
	e := r.nak()
	e.server = server
	return e
}
