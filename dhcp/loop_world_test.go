package dhcp

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// fakeClock is boot time in a bubble.
type fakeClock struct{ start time.Time }

const fakeBoot = 1000 * time.Second

func (c fakeClock) now() time.Duration { return fakeBoot + time.Since(c.start) }
func (c fakeClock) newAlarm() (alarm, error) {
	return &fakeAlarm{c: c, ring: make(chan struct{}, 1)}, nil
}

type fakeAlarm struct {
	c     fakeClock
	timer *time.Timer
	ring  chan struct{}
}

func (a *fakeAlarm) C() <-chan struct{} { return a.ring }
func (a *fakeAlarm) close()             { a.stop() }
func (a *fakeAlarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

func (a *fakeAlarm) set(at time.Duration) error {
	a.stop()
	if at != never {
		a.timer = time.AfterFunc(at-a.c.now(), func() {
			select {
			case a.ring <- struct{}{}:
			default:
			}
		})
	}
	return nil
}

// fakeNet is a transport with a server behind it.
type fakeNet struct {
	mu      sync.Mutex
	start   time.Time
	fail    error // of open and of sending
	answer  func(p *dhcpv4.DHCPv4) [][]byte
	sent    []fakePacket
	sockets int
	last    *fakeConn
}

type fakePacket struct {
	*dhcpv4.DHCPv4
	at       time.Duration
	from, to netip.Addr
}

func (p fakePacket) String() string {
	what := p.MessageType().String()
	switch {
	case !p.ClientIPAddr.IsUnspecified() && p.to == ip("255.255.255.255"):
		what = "REBIND"
	case !p.ClientIPAddr.IsUnspecified():
		what = "RENEW"
	case p.MessageType() == dhcpv4.MessageTypeRequest && !p.Options.Has(dhcpv4.OptionServerIdentifier):
		what = "REBOOT"
	}
	return what
}

type fakeConn struct {
	net     *fakeNet
	wanted  func([]byte) bool
	deliver chan<- datagram
	done    chan struct{}
}

func (n *fakeNet) open(wanted func([]byte) bool, deliver chan<- datagram) (conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return nil, n.fail
	}
	n.sockets++
	n.last = &fakeConn{net: n, wanted: wanted, deliver: deliver, done: make(chan struct{})}
	return n.last, nil
}

func (c *fakeConn) close() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.sockets--
	close(c.done)
}

func (c *fakeConn) broadcast(b []byte) error {
	return c.send(netip.IPv4Unspecified(), ip("255.255.255.255"), b)
}
func (c *fakeConn) routed(from, to netip.Addr, b []byte) error { return c.send(from, to, b) }

func (c *fakeConn) send(from, to netip.Addr, b []byte) error {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return n.fail
	}
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		return err
	}
	n.sent = append(n.sent, fakePacket{p, time.Since(n.start), from, to})
	if n.answer != nil {
		for _, a := range n.answer(p) {
			c.receive(datagram{payload: a})
		}
	}
	return nil
}

// receive delivers like a reader: until the connection is closed.
func (c *fakeConn) receive(d datagram) {
	d.from = c
	if d.err == nil && !c.wanted(d.payload) {
		return
	}
	go func() {
		select {
		case c.deliver <- d:
		case <-c.done:
		}
	}()
}

func (n *fakeNet) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *fakeNet) log() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.sent {
		all = append(all, p.String())
	}
	return all
}

func (n *fakeNet) opened() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sockets
}

// packet is the i-th that was sent, counted from the end if i is negative.
func (n *fakeNet) packet(i int) fakePacket {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i < 0 {
		i += len(n.sent)
	}
	return n.sent[i]
}

// honest is a server that always grants 192.0.2.100 for an hour.
func honest(p *dhcpv4.DHCPv4) [][]byte {
	kind := dhcpv4.MessageTypeAck
	if p.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	return [][]byte{answerTo(p, answer(kind, "192.0.2.100", sound()...))}
}

func refusing(p *dhcpv4.DHCPv4) [][]byte {
	if p.MessageType() == dhcpv4.MessageTypeDiscover {
		return honest(p)
	}
	return [][]byte{answerTo(p, answer(dhcpv4.MessageTypeNak, "0.0.0.0", opt(54, "c0000201")))}
}

func answerTo(p *dhcpv4.DHCPv4, b []byte) []byte {
	copy(b[offXID:], p.TransactionID[:])
	return b
}

// bubble is a client in a bubble of synctest.
type bubble struct {
	t       *testing.T
	net     *fakeNet
	client  *Client
	updates chan Update
	cancel  context.CancelFunc
	done    chan struct{}
	logged  *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.String(), s)
}

func inBubble(t *testing.T, cfg *Config, f func(*bubble)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, net: &fakeNet{start: time.Now(), answer: honest}, logged: &syncBuffer{}}
		var err error
		if b.client, err = New(*cfg, slog.New(slog.NewTextHandler(b.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
			t.Fatal(err)
		}
		b.client.clock, b.client.transport, b.client.dice = fakeClock{time.Now()}, b.net, testDice()
		b.updates = make(chan Update)
		f(b)
		if b.cancel != nil {
			b.stop()
		}
		if t.Failed() {
			t.Log(b.logged.String())
		}
	})
}

func (b *bubble) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.cancel, b.done = cancel, make(chan struct{})
	go func() {
		defer close(b.done)
		if err := b.client.Run(ctx, b.updates); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}()
}

// stop ends Run; it must need no time and leave nothing open.
func (b *bubble) stop() {
	start := time.Now()
	b.cancel()
	<-b.done
	b.cancel = nil
	sent := len(b.net.log())
	if d := time.Since(start); d != 0 {
		b.t.Errorf("Run took %v to end", d)
	}
	if b.net.opened() != 0 {
		b.t.Errorf("%d sockets left open", b.net.opened())
	}
	time.Sleep(100 * time.Hour)
	if n := len(b.net.log()); n != sent {
		b.t.Errorf("%d packets after the end", n-sent)
	}
}

// until reads updates until the state is reached.
func (b *bubble) until(s State) Update {
	b.t.Helper()
	for {
		select {
		case u := <-b.updates:
			if u.State == s {
				return u
			}
		case <-time.After(24 * time.Hour):
			b.t.Fatalf("never %v; sent %v", s, b.net.log())
		}
	}
}

// drain takes all updates from now on and returns the newest by a function.
func (b *bubble) drain() func() Update {
	var mu sync.Mutex
	var last Update
	go func() {
		for {
			select {
			case u := <-b.updates:
				mu.Lock()
				last = u
				mu.Unlock()
			case <-b.done:
				return
			}
		}
	}()
	return func() Update {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}
