package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

func TestLoopLife(t *testing.T) {
	cfg := testConfig()
	cfg.LeaseFile = PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	inBubble(t, cfg, func(b *bubble) {
		b.run()
		u := b.until(Bound)
		if d := time.Since(b.net.start); d != 0 {
			t.Errorf("a cold start took %v", d)
		}
		if u.Lease.Addr() != ip("192.0.2.100") || u.Lease.Acquired != fakeBoot {
			t.Errorf("lease %+v", u.Lease)
		}
		newest := b.drain()
		time.Sleep(29 * time.Minute) // T1 is at 30, less 2 %
		synctest.Wait()
		if got := b.net.log(); !slices.Equal(got, []string{"DISCOVER", "REQUEST"}) {
			t.Errorf("sent %v before T1", got)
		}
		if b.net.opened() != 0 {
			t.Error("a socket is open while BOUND")
		}
		time.Sleep(2 * time.Minute)
		if got := b.net.log(); !slices.Equal(got[2:], []string{"RENEW"}) {
			t.Errorf("sent %v at T1", got)
		}
		if p := b.net.packet(2); p.from != ip("192.0.2.100") || p.to != ip("192.0.2.1") {
			t.Errorf("RENEW from %v to %v", p.from, p.to)
		}
		if u := newest(); u.State != Bound || u.Lease.Acquired < fakeBoot+29*time.Minute {
			t.Errorf("after the renewal: %+v", u)
		}
		if l, err := readLeaseFile(cfg.LeaseFile, b.client.clock.now()); err != nil || l.Lease.Acquired != newest().Lease.Acquired {
			t.Errorf("lease file %+v, %v", l, err)
		}

		b.net.do(func() { b.net.answer = nil })
		lost := newest().Lease
		end := lost.Acquired + lost.TTL
		time.Sleep(end - b.client.clock.now() - time.Nanosecond)
		if u := newest(); u.State != Rebinding || u.Lease != lost || u.Diagnosis != NoAnswer {
			t.Errorf("before the end: %+v", u)
		}
		time.Sleep(time.Nanosecond)
		if u := newest(); u.State != Selecting || u.Lease != nil {
			t.Errorf("after the end: %+v", u)
		}
		if _, err := os.Stat(cfg.LeaseFile.String()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lease file: %v", err)
		}
		if b.net.packet(-2).to != ip("255.255.255.255") {
			t.Error("REBIND is not broadcast")
		}
	})
}

func TestLoopRemembers(t *testing.T) {
	cfg := testConfig()
	cfg.LeaseFile = PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	r := rig{now: fakeBoot}
	held := r.held(10 * time.Minute)
	save := func(c *Config) {
		if err := c.remember(held); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("confirmed", func(t *testing.T) {
		save(cfg)
		inBubble(t, cfg, func(b *bubble) {
			b.run()
			time.Sleep(time.Second)
			if got := b.net.log(); len(got) != 0 {
				t.Errorf("sent %v before the first update was taken", got)
			}
			if u := <-b.updates; u.Lease == nil || u.Lease.Prefix != held.Prefix || u.State != Rebooting {
				t.Fatalf("first update %+v", u)
			}
			b.until(Bound)
			if got := b.net.log(); !slices.Equal(got, []string{"REBOOT"}) {
				t.Errorf("sent %v", got)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		save(cfg)
		inBubble(t, cfg, func(b *bubble) {
			b.net.answer = refusing
			b.run()
			if u := <-b.updates; u.Lease == nil {
				t.Fatalf("first update %+v", u)
			}
			if u := <-b.updates; u.Lease != nil || u.Diagnosis != Refused {
				t.Errorf("update after the NAK %+v", u)
			}
			b.until(Selecting)
			if _, err := os.Stat(cfg.LeaseFile.String()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("lease file: %v", err)
			}
		})
	})
	t.Run("silence", func(t *testing.T) {
		save(cfg)
		inBubble(t, cfg, func(b *bubble) {
			b.net.answer = nil
			b.run()
			newest := b.drain()
			time.Sleep(15 * time.Second)
			if u := newest(); u.State != Bound || u.Lease == nil || u.Diagnosis != NoAnswer {
				t.Errorf("after the budget: %+v", u)
			}
			if b.net.opened() != 0 {
				t.Error("a socket is open while BOUND")
			}
			if _, err := os.Stat(cfg.LeaseFile.String()); err != nil {
				t.Error(err)
			}
		})
	})
	for name, damage := range map[string]func(){
		"nothing":     func() { _ = os.Remove(cfg.LeaseFile.String()) },
		"garbage":     func() { _ = os.WriteFile(cfg.LeaseFile.String(), []byte("{"), 0o600) },
		"a directory": func() { _ = os.Remove(cfg.LeaseFile.String()); _ = os.Mkdir(cfg.LeaseFile.String(), 0o700) },
		"too much": func() {
			_ = os.Remove(cfg.LeaseFile.String())
			_ = os.WriteFile(cfg.LeaseFile.String(), make([]byte, maxLeaseFile+9), 0o600)
		},
		"the other MAC's": func() {
			other := *cfg
			other.MAC = []byte{2, 0, 0, 0, 0, 9}
			save(&other)
		},
		"the other client's": func() {
			other := *cfg
			other.ClientID = []byte{1, 2, 3}
			save(&other)
		},
		"an expired lease": func() {
			r := rig{now: fakeBoot}
			old := r.held(61 * time.Minute / 60)
			old.TTL, old.T1, old.T2 = time.Second, time.Second/2, time.Second/4*3
			if err := cfg.remember(old); err != nil {
				t.Fatal(err)
			}
		},
		"a lease from the future": func() {
			r := rig{now: fakeBoot + time.Hour}
			if err := cfg.remember(r.held(0)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			save(cfg)
			damage()
			inBubble(t, cfg, func(b *bubble) {
				b.run()
				if u := <-b.updates; u.Lease != nil {
					t.Errorf("first update %+v", u)
				}
				if b.until(Bound).Lease == nil {
					t.Error("no lease")
				}
				if got := b.net.log(); !slices.Equal(got, []string{"DISCOVER", "REQUEST"}) {
					t.Errorf("sent %v", got)
				}
			})
			_ = os.Remove(cfg.LeaseFile.String())
		})
	}
	t.Run("another boot", func(t *testing.T) {
		save(cfg)
		b, err := os.ReadFile(cfg.LeaseFile.String())
		if err != nil {
			t.Fatal(err)
		}
		boot, _ := cfg.LeaseFile.Boot()
		if err := os.WriteFile(cfg.LeaseFile.String(), bytes.Replace(b, []byte(boot), []byte("another"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLease(cfg.LeaseFile); !errors.Is(err, ErrOtherBoot) {
			t.Errorf("ReadLease: %v", err)
		}
		inBubble(t, cfg, func(b *bubble) {
			b.run()
			if u := <-b.updates; u.Lease != nil || u.State != Rebooting {
				t.Errorf("first update %+v", u)
			}
			b.until(Bound)
			if got := b.net.log(); !slices.Equal(got, []string{"REBOOT"}) {
				t.Errorf("sent %v", got)
			}
		})
	})
	t.Run("unwritable", func(t *testing.T) {
		c := *cfg
		c.LeaseFile = PathFile(filepath.Join(t.TempDir(), "missing", "wan.lease"))
		inBubble(t, &c, func(b *bubble) {
			b.run()
			b.until(Bound)
			synctest.Wait()
			if b.logged.count("cannot remember lease") != 1 {
				t.Error("not logged")
			}
		})
	})
}

// Whatever the state, and whether or not anybody takes the updates, Run ends at
// once and in silence: stop asserts it.
func TestLoopEndsInEveryState(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*dhcpv4.DHCPv4) [][]byte
		after  time.Duration
	}{
		"silence":             {nil, 0},
		"silence for long":    {nil, time.Hour},
		"bound":               {honest, time.Minute},
		"refused":             {refusing, time.Minute},
		"during a renewal":    {honest, 30 * time.Minute},
		"through many leases": {honest, 50 * time.Hour},
	} {
		for _, reading := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, testConfig(), func(b *bubble) {
					b.net.answer = c.answer
					b.run()
					if reading {
						b.drain()
					}
					time.Sleep(c.after)
				})
			})
		}
	}
	cfg := testConfig()
	cfg.LeaseFile = PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	r := rig{now: fakeBoot}
	if err := cfg.remember(r.held(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Run("before the first update is taken", func(t *testing.T) {
		inBubble(t, cfg, func(b *bubble) { b.run(); time.Sleep(time.Minute) })
	})
}

func TestLoopRunsOnce(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.run()
		b.until(Bound)
		if err := b.client.Run(t.Context(), b.updates); !errors.Is(err, ErrRunning) {
			t.Errorf("a second Run: %v", err)
		}
		b.stop()
		b.run() // and again, after the end of the first
		b.until(Bound)
	})
}

// A consumer that sleeps gets the newest state, not the whole story.
func TestLoopSlowConsumer(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = refusing
		b.run()
		time.Sleep(24 * time.Hour)
		b.net.do(func() { b.net.answer = honest })
		time.Sleep(time.Hour)
		n := 0
		for u := range b.updates {
			if n++; u.State == Bound {
				break
			}
		}
		if len(b.net.log()) < 80 {
			t.Errorf("only %d packets in a day", len(b.net.log()))
		}
		if n > maxPending {
			t.Errorf("%d updates were kept", n)
		}
	})
}

func TestLoopLocalErrors(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.fail = unix.ENODEV
		b.run()
		newest := b.drain()
		time.Sleep(10 * time.Second)
		if u := newest(); u.Diagnosis != NoCarrier || u.Lease != nil {
			t.Errorf("without a device: %+v", u)
		}
		if n := b.logged.count("level=WARN msg=\"send"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		b.net.do(func() { b.net.fail = nil })
		b.client.Carrier(true) // what a keeper says when it has made the device
		start := time.Now()
		for newest().State != Bound {
			time.Sleep(time.Millisecond)
			if time.Since(start) > time.Minute {
				t.Fatal("no lease")
			}
		}
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("it took %v after the device was there", d)
		}
	})
	// The device goes away while an answer is awaited.
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = nil
		b.run()
		newest := b.drain()
		synctest.Wait()
		b.net.do(func() { b.net.last.receive(datagram{err: unix.ENETDOWN}) })
		if u := newest(); u.Diagnosis != NoCarrier {
			t.Errorf("diagnosis %v", u.Diagnosis)
		}
		b.net.do(func() { b.net.answer = honest })
		time.Sleep(time.Second)
		if u := newest(); u.State != Bound || u.Diagnosis != OK {
			t.Errorf("%+v", u)
		}
	})
}

func TestLoopCarrier(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.client.Carrier(false)
		b.run()
		newest := b.drain()
		time.Sleep(time.Hour)
		if u := newest(); u.Diagnosis != NoCarrier || len(b.net.log()) != 0 {
			t.Fatalf("%+v, sent %v", u, b.net.log())
		}
		b.client.Carrier(true)
		if u := newest(); u.State != Bound {
			t.Fatalf("%+v", u)
		}
		l := newest().Lease
		// Both changes before the loop looks: still one INIT-REBOOT.
		time.Sleep(time.Minute)
		b.client.Carrier(false)
		b.client.Carrier(true)
		if u := newest(); u.State != Bound || u.Lease.Prefix != l.Prefix || u.Lease == l {
			t.Errorf("%+v", u)
		}
		if got := b.net.log(); !slices.Equal(got[2:], []string{"REBOOT"}) {
			t.Errorf("sent %v", got)
		}
		b.client.Carrier(true)
		b.client.Carrier(true)
		time.Sleep(time.Minute)
		if got := b.net.log(); len(got) != 3 {
			t.Errorf("sent %v", got)
		}
	})
}

func TestLoopConfirm(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.run()
		newest := b.drain()
		b.client.Confirm() // not bound yet, or just: harmless
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		before := len(b.net.log())
		b.client.Confirm()
		if u := newest(); u.State != Bound || !slices.Equal(b.net.log()[before:], []string{"REBOOT"}) {
			t.Errorf("%+v, sent %v", u, b.net.log()[before:])
		}
		for range 10000 { // ten seconds of doubts
			b.client.Confirm()
			time.Sleep(time.Millisecond)
		}
		if n := len(b.net.log()) - before; n != 1 {
			t.Errorf("%d packets", n)
		}
	})
}

// What is malformed is said once for each kind, however often it comes.
func TestLoopDropsGarbage(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = func(p *dhcpv4.DHCPv4) [][]byte {
			truncated := answerTo(p, answer(dhcpv4.MessageTypeOffer, "192.0.2.100", sound()...))
			wrongXID := bytes.Clone(truncated)
			binary.BigEndian.PutUint32(wrongXID[offXID:], 1)
			return slices.Repeat([][]byte{
				truncated[:offOptions+5], wrongXID,
				answerTo(p, answer(dhcpv4.MessageTypeOffer, "224.0.0.1", sound()...)),
			}, 1000)
		}
		b.run()
		newest := b.drain()
		time.Sleep(time.Second)
		if n := len(b.net.log()); n != 1 {
			t.Errorf("%d packets sent", n)
		}
		if n, m := b.logged.count("malformed packet dropped"), b.logged.count("unusable OFFER"); n != 1 || m != 1 {
			t.Errorf("said %d and %d times", n, m)
		}
		time.Sleep(10 * time.Second)
		if u := newest(); u.Diagnosis != Unusable || u.Lease != nil {
			t.Errorf("%+v", u)
		}
	})
}

// A server that refuses each RENEW and INIT-REBOOT but grants the DISCOVER that
// follows, as some operators have: it must not leave the client without an address.
func TestLoopRefusedRenewals(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		b.net.answer = func(p *dhcpv4.DHCPv4) [][]byte {
			if p.MessageType() == dhcpv4.MessageTypeRequest && !p.Options.Has(dhcpv4.OptionServerIdentifier) {
				return refusing(p)
			}
			return honest(p)
		}
		b.run()
		newest := b.drain()
		for i := range 60 { // 30 hours of leases of one hour
			if u := newest(); u.State != Bound || u.Lease == nil {
				t.Fatalf("after %v: %+v", time.Since(b.net.start), u)
			}
			if i == 20 {
				b.client.Carrier(false)
				b.client.Carrier(true)
			}
			time.Sleep(30 * time.Minute)
		}
		if n := b.logged.count(`diagnosis=refused`); n < 40 {
			t.Errorf("%d refusals, the server is not the one that is meant", n)
		}
	})
}

// A server that answers only every third packet is slow, not fatal.
func TestLoopLossyServer(t *testing.T) {
	inBubble(t, testConfig(), func(b *bubble) {
		n := 0
		b.net.answer = func(p *dhcpv4.DHCPv4) [][]byte {
			if n++; n%3 != 0 {
				return nil
			}
			return honest(p)
		}
		b.run()
		b.until(Bound)
		if d := time.Since(b.net.start); d < 20*time.Second || d > 40*time.Second {
			t.Errorf("it took %v", d)
		}
		newest := b.drain()
		for range 100 { // days; the address never leaves
			time.Sleep(time.Hour)
			if u := newest(); u.Lease == nil {
				t.Fatalf("%+v", u)
			}
		}
	})
}
