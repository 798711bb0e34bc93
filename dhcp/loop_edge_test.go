package dhcp

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// The lease ends while nothing can be sent: it is withdrawn and forgotten all the
// same.
func TestLoopForgetsWithoutADevice(t *testing.T) {
	cfg := testConfig()
	file := filepath.Join(t.TempDir(), "wan.lease")
	cfg.LeaseFile = PathFile(file)
	inBubble(t, cfg, func(b *bubble) {
		b.run()
		b.until(Bound)
		newest := b.drain()
		b.net.do(func() { b.net.fail = unix.ENODEV })
		time.Sleep(time.Hour - time.Second)
		if u := newest(); u.Lease == nil || u.Diagnosis != NoCarrier {
			t.Errorf("before its end: %+v", u)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if u := newest(); u.Lease != nil {
			t.Errorf("after its end: %+v", u)
		}
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lease file: %v", err)
		}
		if b.net.opened() != 0 {
			t.Error("a socket is open")
		}
	})
}

// A device that cannot be sent on any more gets a new socket with the next packet.
func TestLoopOpensAnew(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = nil
		b.run()
		b.drain()
		synctest.Wait()
		last := func() (c *fakeConn) {
			b.net.do(func() { c = b.net.last })
			return c
		}
		first := last()
		b.net.do(func() { b.net.fail = unix.ENETDOWN })
		time.Sleep(6 * time.Second)
		b.net.do(func() { b.net.fail = nil })
		time.Sleep(time.Minute)
		if last() == first || b.net.opened() != 1 {
			t.Errorf("%d sockets, the old one: %v", b.net.opened(), last() == first)
		}
		second := last()
		b.net.do(func() { second.receive(datagram{err: unix.ENETDOWN}) })
		time.Sleep(time.Minute)
		if last() == second || b.net.opened() != 1 {
			t.Errorf("after an error of reading: %d sockets, the old one: %v", b.net.opened(), last() == second)
		}
	})
}

// Trouble is said once, and again when it comes back after it was over.
func TestLoopSaysTroubleOnce(t *testing.T) {
	cfg := testConfig()
	router := &fakeRouter{}
	cfg.Host = router.host
	inBubble(t, cfg, func(b *bubble) {
		b.run()
		newest := b.drain()
		newest()
		for i, want := range []int{1, 2} {
			router.set(Host{}, errors.New("out of order"))
			for range 5 {
				time.Sleep(2 * time.Second)
				b.client.Carrier(true)
				newest()
			}
			if n := b.logged.count("cannot compare leases"); n != want {
				t.Errorf("round %d: said %d times", i, n)
			}
			router.set(Host{}, nil)
			time.Sleep(2 * time.Second)
			b.client.Carrier(true)
			newest()
		}
		b.net.do(func() { b.net.answer = nil })
		b.client.Carrier(false)
		b.client.Carrier(true)
		newest()
		b.net.do(func() { b.net.last.receive(datagram{err: unix.ENETDOWN}) })
		newest()
		if n := b.logged.count("level=WARN msg=receive"); n != 1 {
			t.Errorf("the error of the socket was said %d times", n)
		}
	})
}

// A finding is a warning with what the server said; its end is not.
func TestLoopReports(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = func(p *dhcpv4.DHCPv4) [][]byte {
			if p.MessageType() == dhcpv4.MessageTypeDiscover {
				return honest(p)
			}
			return [][]byte{answerTo(p, answer(dhcpv4.MessageTypeNak, "0.0.0.0", opt(54, "c0000201"), text(56, "go away")))}
		}
		b.run()
		newest := b.drain()
		newest()
		if n := b.logged.count(`diagnosis=refused state=init detail="go away"`); n != 1 || b.logged.count("level=WARN msg=\"dhcp: the server refuses") != 1 {
			t.Errorf("the refusal was said %d times", n)
		}
		b.net.do(func() { b.net.answer = honest })
		time.Sleep(time.Minute)
		if newest().State != Bound || b.logged.count("level=DEBUG msg=\"dhcp: nothing is wrong\" interface=wan diagnosis=ok state=bound\n") != 1 {
			t.Errorf("%+v", newest())
		}
		if b.logged.count("level=WARN") != 1 {
			t.Error("there are other warnings")
		}
		if b.logged.count("from=requesting to=bound lease=true") != 1 {
			t.Error("the state is not told")
		}
	})
}

// The carrier was lost before the client began to run: that is no flap.
func TestLoopBeginsWithTheCarrierAsItIs(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.client.Carrier(false)
		b.client.Carrier(true)
		b.run()
		newest := b.drain()
		time.Sleep(time.Minute)
		if got := b.net.log(); newest().State != Bound || len(got) != 2 {
			t.Errorf("sent %v", got)
		}
	})
}

func TestEvent(t *testing.T) {
	a, b := testLease(serverA, "192.0.2.100"), testLease(serverA, "192.0.2.7")
	renewed := *a
	renewed.Acquired, renewed.T1, renewed.T2, renewed.TTL, renewed.Omitted = 1, 2, 3, 4, []string{"x"}
	routed := *a
	routed.Routes = nil
	for _, c := range []struct {
		old, now *Lease
		want     string
	}{
		{nil, nil, ""},
		{nil, a, LeaseBound},
		{a, nil, LeaseLost},
		{a, a, ""},
		{a, &renewed, ""},
		{a, b, LeaseChanged},
		{a, &routed, LeaseChanged},
	} {
		if got := Event(c.old, c.now); got != c.want {
			t.Errorf("%v, then %v: %q, want %q", c.old, c.now, got, c.want)
		}
	}
}

// What is just allowed in a lease is allowed in a lease file.
func TestLeaseAtItsBounds(t *testing.T) {
	r := rig{now: fakeBoot}
	for name, c := range map[string]struct {
		change func(*Lease)
		bad    bool
	}{
		"as many as fit": {func(l *Lease) {
			l.DNS, l.Search, l.Omitted = make([]netip.Addr, maxDNS), make([]string, maxSearch), make([]string, maxOmitted)
			for i := range l.DNS {
				l.DNS[i] = serverA
			}
			for i := range l.Search {
				l.Search[i] = "example.net"
			}
			l.Routes = nil
			for i := range maxRoutes {
				l.Routes = append(l.Routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24), serverA})
			}
			l.Gateway = netip.Addr{}
		}, false},
		"the least MTU":      {func(l *Lease) { l.MTU = minMTU }, false},
		"the greatest MTU":   {func(l *Lease) { l.MTU = 65535 }, false},
		"infinite":           {func(l *Lease) { l.T1, l.T2, l.TTL = Infinite, Infinite, Infinite }, false},
		"infinite with a T1": {func(l *Lease) { l.T1, l.T2, l.TTL = 1, Infinite, Infinite }, true},
		"infinite with a T2": {func(l *Lease) { l.T1, l.T2, l.TTL = Infinite, 1, Infinite }, true},
		"the longest":        {func(l *Lease) { l.TTL = maxTTL }, false},
		"at boot":            {func(l *Lease) { l.Acquired = 0 }, false},
		"a moment":           {func(l *Lease) { l.T1, l.T2, l.TTL = 1, 2, 3 }, false},
		"T1 = T2":            {func(l *Lease) { l.T1, l.T2, l.TTL = 2, 2, 3 }, true},
		"T2 = TTL":           {func(l *Lease) { l.T1, l.T2, l.TTL = 1, 3, 3 }, true},
		"a short prefix":     {func(l *Lease) { l.Prefix = pfx("10.0.0.1/8") }, false},
		"a shorter prefix":   {func(l *Lease) { l.Prefix = pfx("10.0.0.1/7") }, true},
	} {
		l := *r.held(time.Minute)
		c.change(&l)
		if err := l.validate(); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := testLease(serverA, "192.0.2.100")
	l.TTL = 100
	if at, ok := l.deadline(Infinite); ok || at != 0 {
		t.Errorf("a T1 that never comes is at %v", at)
	}
	if at, ok := l.deadline(30); !ok || at != 30 {
		t.Errorf("a deadline at %v, %v", at, ok)
	}
}

// countingFile is a lease file that counts.
type countingFile struct {
	mu              sync.Mutex
	content         []byte
	writes, removes int
	fail            error
}

func (f *countingFile) Read(int) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.content == nil {
		return nil, fs.ErrNotExist
	}
	return f.content, nil
}

func (f *countingFile) Write(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes, f.content = f.writes+1, b
	return f.fail
}

func (f *countingFile) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removes, f.content = f.removes+1, nil
	return f.fail
}

func (f *countingFile) Boot() (string, error) { return "b", nil }
func (f *countingFile) String() string        { return "wan.lease" }

// counted returns what was counted, and begins anew with this error.
func (f *countingFile) counted(fail error) (writes, removes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes, removes = f.writes, f.removes
	f.writes, f.removes, f.fail = 0, 0, fail
	return writes, removes
}

// The lease file is written once for each lease, and removed once for each that is
// lost: it is flash on some routers.
func TestLoopWritesTheFileOnce(t *testing.T) {
	cfg := testConfig()
	file := &countingFile{}
	cfg.LeaseFile = file
	inBubble(t, cfg, func(b *bubble) {
		b.run()
		newest := b.drain()
		time.Sleep(2 * time.Hour)
		newest()
		sent := len(b.net.log())
		writes, removes := file.counted(errors.New("read-only"))
		if writes != sent-1 || removes != 0 { // all but the DISCOVER have brought a lease
			t.Errorf("%d writes and %d removals for %d packets", writes, removes, sent)
		}
		b.net.do(func() { b.net.answer = nil })
		time.Sleep(5 * time.Hour)
		lost := newest().Lease == nil
		if writes, removes := file.counted(errors.New("read-only")); !lost || removes != 1 || writes != 0 {
			t.Errorf("%d removals and %d writes after the end of the lease", removes, writes)
		}
		if b.logged.count("cannot remember lease") != 1 {
			t.Error("the file that stays is not told of")
		}
	})
	// What another boot remembers stays until it is confirmed or refused.
	r := rig{now: fakeBoot}
	if err := cfg.remember(r.held(0)); err == nil {
		t.Fatal("the write did not fail")
	}
	file.counted(nil)
	file.content = bytes.Replace(file.content, []byte(`"boot": "b"`), []byte(`"boot": "another"`), 1)
	inBubble(t, cfg, func(b *bubble) {
		b.net.answer = nil
		b.run()
		newest := b.drain()
		time.Sleep(time.Hour)
		lost := newest().Lease == nil
		if writes, removes := file.counted(nil); !lost || removes != 0 || writes != 0 {
			t.Errorf("%d removals and %d writes", removes, writes)
		}
	})
	// A lease of this very moment is none of the future.
	if err := cfg.remember(r.held(0)); err != nil {
		t.Fatal(err)
	}
	if m, err := cfg.recall(fakeBoot); err != nil || m == nil {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := cfg.recall(fakeBoot - 1); err == nil || m != nil {
		t.Errorf("of the future: %+v, %v", m, err)
	}
}
