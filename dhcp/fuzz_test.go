package dhcp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzDecode: whatever a packet holds, what comes out is a valid lease or none.
func FuzzDecode(f *testing.F) {
	add := func(b []byte) { // what matters of a message, without the fixed fields
		f.Add(b[offOptions:], b[offSname:offCookie], binary.BigEndian.Uint32(b[offYiaddr:]))
	}
	add(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(opt(121, "18 0a0000 c0000207 00 c0000201"), opt(119, "0161 0162 00 0163 c002"), text(15, "example.net"))...))
	add(answer(dhcpv4.MessageTypeOffer, "192.0.2.100", sound(opt(52, "03"), opt(1, "ffffffff"), opt(26, "ffff"), opt(33, "0a000000c0000209"))...))
	add(answer(dhcpv4.MessageTypeNak, "0.0.0.0", opt(54, "c0000201"), text(56, "no")))
	add(answer(dhcpv4.MessageTypeAck, "255.255.255.255", sound(opt(51, "ffffffff"), opt(58, "ffffffff"), opt(59, "00000000"))...))
	cfg := testConfig()
	cfg.Request = []uint8{90, 125}
	dice := testDice()
	head := answer(dhcpv4.MessageTypeAck, "0.0.0.0")[:offOptions]
	f.Fuzz(func(t *testing.T, options, names []byte, yiaddr uint32) {
		b := append(bytes.Clone(head), options...)
		copy(b[offSname:offCookie], names)
		binary.BigEndian.PutUint32(b[offYiaddr:], yiaddr)
		if !isReplyTo(b, 9, testMAC) && len(options) > 0 {
			t.Fatal("not taken for an answer")
		}
		m, err := cfg.decode(b)
		if err != nil {
			return
		}
		isLease := m.kind == dhcpv4.MessageTypeOffer || m.kind == dhcpv4.MessageTypeAck
		if isLease != (m.lease != nil || m.refusal != nil) || (m.lease != nil && m.refusal != nil) {
			t.Fatalf("%v with lease %v and refusal %v", m.kind, m.lease, m.refusal)
		}
		if m.lease == nil || !m.server.IsValid() {
			return
		}
		m.lease.setTimers(dice)
		if err := m.lease.validate(); err != nil {
			t.Fatalf("%v: %+v", err, m.lease)
		}
		// What the client holds it can remember.
		file, err := json.Marshal(leaseFile{Version: leaseFileVersion, Lease: *m.lease})
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseLeaseFile(file, "")
		if err != nil {
			t.Fatalf("%v: %s", err, file)
		}
		if again, _ := json.Marshal(back); string(again) != string(file) {
			t.Fatalf("%s\nbecame\n%s", file, again)
		}
	})
}

// FuzzLeaseFile: a damaged file is refused or holds a valid lease.
func FuzzLeaseFile(f *testing.F) {
	r := rig{now: time.Hour}
	l := r.held(time.Minute)
	l.DNS, l.Search, l.MTU, l.Extra = ips("192.0.2.53"), []string{"example.net"}, 1500, []Option{opt(125, "00")}
	good, _ := json.MarshalIndent(leaseFile{Version: leaseFileVersion, Boot: "b", MAC: testMAC.String(), Lease: *l}, "", "\t")
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"version":1,"lease":{"prefix":"10.0.0.1/8","server":"10.0.0.2","ttl":9223372036854775807,"t1":-1,"t2":3}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseLeaseFile(b, "b")
		if err != nil {
			return
		}
		if err := m.Lease.validate(); err != nil {
			t.Fatal(err)
		}
		m.Lease.RemainingAt(time.Hour)
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseLeaseFile(again, "b")
		if err != nil {
			t.Fatalf("%v: %s", err, again)
		}
		if !reflect.DeepEqual(back.Lease.Prefix, m.Lease.Prefix) || back.thisBoot != m.thisBoot {
			t.Fatal("it changed on the way")
		}
	})
}

// FuzzEvents: no sequence of events breaks the invariants of the issue.
func FuzzEvents(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 2, 9, 1, 9, 2, 9, 9, 3})
	f.Add(uint64(2), []byte("\x05\x06\x01\x02\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09"))
	f.Add(uint64(3), []byte{15, 4, 9, 8, 9, 3, 9, 10, 1, 2, 200, 201, 202})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		dice := rand.New(rand.NewPCG(seed, 7))
		cfg := Config{RapidCommit: seed&1 != 0}
		r := rig{t: t, m: newMachine(&cfg, dice), now: time.Duration(seed % uint64(1000*time.Hour))}
		start := evStart{carrier: seed&4 != 0, foreign: seed&8 != 0}
		if seed&16 != 0 {
			start.lease = r.held(min(r.now, time.Duration(dice.Int64N(int64(2*time.Hour)))))
		}
		check := newChecker(t, &r)
		check.do(start)
		if len(script) > 400 {
			script = script[:400]
		}
		for _, b := range script {
			if r.now > maxTTL {
				break // no machine runs for 136 years, and time.Duration ends at 292
			}
			check.do(randomEvent(&r, dice, b))
		}
		// Left alone, any finite lease ends, on time. The first attempts to save it
		// are followed one by one.
		for range 100 {
			if r.m.lease == nil || r.last.wake == never {
				return
			}
			r.now = r.last.wake
			check.do(evTick{})
		}
		if l := r.m.lease; l != nil && !l.Infinite() {
			r.now = l.Acquired + l.TTL
			if check.do(evTick{}); r.m.lease != nil {
				t.Fatal("the lease does not end")
			}
		}
	})
}

// randomEvent makes an event of a byte and the dice; time passes with some.
func randomEvent(r *rig, dice *rand.Rand, b byte) any {
	ttl := [...]time.Duration{time.Second, 10 * time.Second, time.Hour, 1000 * time.Hour, maxTTL, Infinite}[int(b)/16%6]
	lease := func() *Lease {
		l := testLease(serverA, "192.0.2.100")
		if dice.IntN(2) == 0 {
			l = testLease(serverB, "192.0.2.7")
		}
		if l.TTL = ttl; ttl == Infinite {
			l.T1, l.T2 = Infinite, Infinite
		} else if dice.IntN(2) == 0 {
			l.T1, l.T2 = ttl/4, ttl/2
		}
		return l
	}
	switch b % 16 {
	case 1:
		return r.msg(dhcpv4.MessageTypeOffer, lease())
	case 2:
		return r.msg(dhcpv4.MessageTypeAck, lease())
	case 3:
		return r.nak()
	case 4:
		return r.msg(dhcpv4.MessageTypeAck, nil)
	case 5:
		e := r.msg(dhcpv4.MessageTypeAck, lease())
		e.rapid = true
		return e
	case 6:
		return evCarrier{false}
	case 7:
		return evCarrier{true}
	case 8:
		return evConfirm{}
	case 15:
		if b&16 != 0 || r.m.lease == nil {
			return evReview{refusal: &refusal{Conflict, "why"}}
		}
		less := *r.m.lease
		less.Routes, less.Gateway = nil, netip.Addr{}
		return evReview{lease: &less}
	case 10:
		return evUnsent{down: b&16 != 0}
	case 11: // a message of the past
		e := r.msg(dhcpv4.MessageTypeAck, lease())
		e.xid++
		return e
	case 12: // asleep: the machine was suspended
		r.now += time.Duration(dice.Int64N(int64(3 * time.Hour)))
	case 13:
		r.now += time.Duration(dice.Int64N(int64(20 * time.Second)))
	case 9, 14:
		if r.last.wake != never {
			r.now = r.last.wake
		}
	}
	return evTick{}
}

// checker asserts after every event what must hold always.
type checker struct {
	*rig
	idle    int  // steps in a row at one moment
	carrier bool // as the events said
}

func newChecker(t testing.TB, r *rig) *checker { r.t = t; return &checker{rig: r} }

func (c *checker) do(event any) {
	before, was := c.now, c.m.lease
	s := c.rig.do(event)
	m, t := c.m, c.t
	switch e := event.(type) {
	case evStart:
		c.carrier = e.carrier
	case evCarrier:
		c.carrier = e.up
	}
	// Never an address without a lease, never a lease beyond its end.
	if l := m.lease; l != nil {
		if err := l.validate(); err != nil {
			t.Fatalf("%v: %+v", err, l)
		}
		if l.RemainingAt(c.now) <= 0 {
			t.Fatalf("%v after its end, a lease is held", -l.RemainingAt(c.now))
		}
		if !l.Infinite() && s.wake > l.Acquired+l.TTL {
			t.Fatal("the end of the lease is slept through")
		}
	}
	if s.update.Lease != m.lease || s.update.State != m.state {
		t.Fatal("the update differs from the state")
	}
	if was != m.lease && !s.change {
		if _, start := event.(evStart); !start {
			t.Fatal("a change of the lease is not in the update")
		}
	}
	if (m.state == Bound || m.state == Renewing || m.state == Rebinding) && m.lease == nil {
		t.Fatalf("%v without a lease", m.state)
	}
	if (m.state == Init || m.state == Selecting || m.state == Requesting) && m.lease != nil {
		t.Fatalf("%v with a lease", m.state)
	}
	if was != nil && m.lease == nil && !s.forget {
		t.Fatal("a lost lease is remembered")
	}
	// Nothing is sent while BOUND or without carrier, and no answer is awaited.
	if s.send != nil && (m.state == Bound || m.state == Init || m.state == InitReboot || !c.carrier) {
		t.Fatalf("%v sends %v", m.state, s.send.kind)
	}
	if s.listen && (m.state == Bound || m.state == Init || m.state == InitReboot || !c.carrier) {
		t.Fatalf("%v listens", m.state)
	}
	if s.send != nil {
		checkRequest(t, m, s.send)
	}
	// The clock is never asked for the past, and sleeps do not degenerate.
	if s.wake < c.now {
		t.Fatalf("wakes %v ago", c.now-s.wake)
	}
	if _, tick := event.(evTick); tick && s.wake == before {
		if c.idle++; c.idle > 3 {
			t.Fatalf("%v spins", m.state)
		}
	} else {
		c.idle = 0
	}
}

// checkRequest asserts table 4 of RFC 2131 on what the machine asks for.
func checkRequest(t testing.TB, m *machine, r *request) {
	wantAddr := r.kind != discover
	wantServer := r.kind == selectOffer || r.kind == renew || r.kind == rebind
	if (wantAddr && !r.addr.IsValid()) || wantServer != r.server.IsValid() || r.xid != m.xid || r.secs < 0 {
		t.Fatalf("%v: %+v", m.state, r)
	}
	if b := testConfig().encode(*r); binary.BigEndian.Uint32(b[offXID:]) != r.xid {
		t.Fatal("xid is lost")
	}
}
