package dhcp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/wanfail/wanfail/dhcp"
)

// Before each sound answer comes a hostile one. The client must take the sound
// one, at once, and nothing of the other.
func TestHostileAnswers(t *testing.T) {
	raw := func(code uint8, b ...byte) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b))
	}
	// Each returns frames.
	bytesOf := func(f func(r seen, kind dhcpv4.MessageType) []byte) func(seen, dhcpv4.MessageType) [][]byte {
		return func(r seen, kind dhcpv4.MessageType) [][]byte {
			return [][]byte{wrap(mac, leasedIP.Addr(), f(r, kind))}
		}
	}
	with := func(mods ...dhcpv4.Modifier) func(seen, dhcpv4.MessageType) [][]byte {
		return bytesOf(func(r seen, kind dhcpv4.MessageType) []byte { return reply(r, kind, mods...).ToBytes() })
	}
	frame := func(change func(b []byte) []byte) func(seen, dhcpv4.MessageType) [][]byte {
		return func(r seen, kind dhcpv4.MessageType) [][]byte {
			evil := reply(r, kind, dhcpv4.WithYourIP(net.IP{203, 0, 113, 66}))
			return [][]byte{change(wrap(mac, leasedIP.Addr(), evil.ToBytes()))}
		}
	}
	evilIP := func(ip ...byte) func(seen, dhcpv4.MessageType) [][]byte { return with(dhcpv4.WithYourIP(ip)) }
	cases := map[string]func(seen, dhcpv4.MessageType) [][]byte{
		"wrong xid":               with(dhcpv4.WithTransactionID(dhcpv4.TransactionID{6, 6, 6, 6}), dhcpv4.WithYourIP(net.IP{203, 0, 113, 66})),
		"wrong chaddr":            with(dhcpv4.WithHwAddr(net.HardwareAddr{2, 6, 6, 6, 6, 6}), dhcpv4.WithYourIP(net.IP{203, 0, 113, 66})),
		"a request":               with(func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootRequest }, dhcpv4.WithYourIP(net.IP{203, 0, 113, 66})),
		"no message type":         with(dhcpv4.WithoutOption(dhcpv4.OptionDHCPMessageType)),
		"message type 99":         with(dhcpv4.WithMessageType(99)),
		"truncated in the header": bytesOf(func(r seen, k dhcpv4.MessageType) []byte { return reply(r, k).ToBytes()[:100] }),
		"truncated in an option":  bytesOf(func(r seen, k dhcpv4.MessageType) []byte { return reply(r, k).ToBytes()[:245] }),
		"an option longer than the packet": bytesOf(func(r seen, k dhcpv4.MessageType) []byte {
			return append(reply(r, k).ToBytes()[:243], 6, 255, 1, 2, 3)
		}),
		"truncated frame":         frame(func(b []byte) []byte { return b[:len(b)-20] }),
		"UDP longer than IP":      frame(func(b []byte) []byte { b[38]++; return b }),
		"bad UDP checksum":        frame(func(b []byte) []byte { b[40], b[41] = 6, 6; return b }),
		"bad IP checksum":         frame(func(b []byte) []byte { b[24] ^= 6; return b }),
		"fragment":                frame(func(b []byte) []byte { b[20] |= 0x20; return b }),
		"an IP header of 4 bytes": frame(func(b []byte) []byte { b[14] = 0x41; return b }),
		"empty UDP":               frame(func(b []byte) []byte { return b[:42] }),
		"oversize":                with(raw(43, bytes.Repeat([]byte{6}, 1100)...), dhcpv4.WithYourIP(net.IP{0, 0, 0, 0})),
		"overload with garbage": bytesOf(func(r seen, k dhcpv4.MessageType) []byte {
			b := reply(r, k, raw(52, 3)).ToBytes()
			copy(b[108:], bytes.Repeat([]byte{6, 250}, 64))
			return b
		}),
		"NAK to DISCOVER": func(r seen, kind dhcpv4.MessageType) [][]byte {
			if kind != dhcpv4.MessageTypeOffer {
				return nil
			}
			return [][]byte{wrap(mac, leasedIP.Addr(), reply(r, dhcpv4.MessageTypeNak).ToBytes())}
		},
		"ACK to DISCOVER": func(r seen, kind dhcpv4.MessageType) [][]byte {
			return [][]byte{wrap(mac, leasedIP.Addr(), reply(r, dhcpv4.MessageTypeAck, raw(80)).ToBytes())}[:btoi(kind == dhcpv4.MessageTypeOffer)]
		},
		"NAK of another server": func(r seen, kind dhcpv4.MessageType) [][]byte {
			nak := reply(r, dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 0, 2, 66})))
			return [][]byte{wrap(mac, leasedIP.Addr(), nak.ToBytes())}
		},
		"lease of 0 s":       with(dhcpv4.WithLeaseTime(0)),
		"no lease time":      with(dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime)),
		"address 0.0.0.0":    evilIP(0, 0, 0, 0),
		"address broadcast":  evilIP(255, 255, 255, 255),
		"address multicast":  evilIP(224, 0, 0, 1),
		"address loopback":   evilIP(127, 0, 0, 1),
		"address class E":    evilIP(250, 0, 0, 1),
		"address of the net": evilIP(192, 0, 2, 0),
		"mask 0":             with(dhcpv4.WithNetmask(net.IPMask{0, 0, 0, 0})),
		"mask with holes":    with(dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})),
	}
	for name, hostile := range cases {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t)
			s.do(func(s *server, r seen) {
				kind := dhcpv4.MessageTypeAck
				if r.MessageType() == dhcpv4.MessageTypeDiscover {
					kind = dhcpv4.MessageTypeOffer
				}
				for _, b := range hostile(r, kind) {
					s.write(mac, b)
				}
				s.lease(r)
			})
			k := run(t, dhcp.Config{})
			l := k.bound()
			if l.Prefix != leasedIP || l.TTL != time.Hour || l.Gateway != serverIP || l.Server != serverIP {
				t.Errorf("lease %+v", l)
			}
			if n := len(s.requests()); n != 2 {
				t.Errorf("it took %d requests", n)
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A lease may be odd, and still be one. Nothing in it may hurt.
func TestOddLeases(t *testing.T) {
	raw := func(code uint8, b ...byte) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b))
	}
	u32 := func(code uint8, v uint32) dhcpv4.Modifier {
		return raw(code, binary.BigEndian.AppendUint32(nil, v)...)
	}
	cases := map[string]struct {
		mods  []dhcpv4.Modifier
		check func(*dhcp.Lease) bool
	}{
		"infinite": {[]dhcpv4.Modifier{u32(51, 1<<32-1)}, func(l *dhcp.Lease) bool { return l.Infinite() && l.Remaining() == dhcp.Infinite }},
		"1 s":      {[]dhcpv4.Modifier{u32(51, 1)}, func(l *dhcp.Lease) bool { return l.TTL == time.Second && l.T2 < l.TTL }},
		"T1 > T2":  {[]dhcpv4.Modifier{u32(58, 3000), u32(59, 2000)}, func(l *dhcp.Lease) bool { return l.T1 < l.T2 && l.T2 < l.TTL }},
		"gateway outside the prefix": {
			[]dhcpv4.Modifier{dhcpv4.WithRouter(net.IP{10, 0, 0, 1})},
			func(l *dhcp.Lease) bool { return l.Gateway.String() == "10.0.0.1" && l.OnLink(l.Gateway) },
		},
		"121 with garbage": {[]dhcpv4.Modifier{raw(121, 33, 6, 6, 6, 6, 6, 6)}, func(l *dhcp.Lease) bool { return l.Gateway == serverIP }},
		"MTU 0":            {[]dhcpv4.Modifier{raw(26, 0, 0)}, func(l *dhcp.Lease) bool { return l.MTU == 0 }},
		"MTU 65535":        {[]dhcpv4.Modifier{raw(26, 255, 255)}, func(l *dhcp.Lease) bool { return l.MTU == 1500 }},
		"255 labels": {
			[]dhcpv4.Modifier{raw(119, append(bytes.Repeat([]byte{1, 'a'}, 255), 0)...)},
			func(l *dhcp.Lease) bool { return l.Search == nil },
		},
		"overloaded": {
			[]dhcpv4.Modifier{raw(52, 1), func(d *dhcpv4.DHCPv4) { d.BootFileName = "\x0f\x03net\xff" }},
			func(l *dhcp.Lease) bool { return l.Domain == "net" },
		},
	}
	for _, evil := range []string{"a\nnameserver 6.6.6.6", "a;reboot", "$(reboot)", "`reboot`", "a b", "a'b", "\x00", "../../etc", strings.Repeat("a.", 200)} {
		cases[fmt.Sprintf("name %.10q", evil)] = struct {
			mods  []dhcpv4.Modifier
			check func(*dhcp.Lease) bool
		}{
			[]dhcpv4.Modifier{raw(12, []byte(evil)...), raw(15, []byte(evil)...), raw(119, append(append([]byte{byte(min(len(evil), 63))}, evil[:min(len(evil), 63)]...), 0)...)},
			func(l *dhcp.Lease) bool { return l.Domain == "" && l.Hostname == "" && l.Search == nil },
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer(t)
			s.do(func(s *server, r seen) { s.lease(r, c.mods...) })
			l := run(t, dhcp.Config{}).bound()
			if l.Prefix != leasedIP || !c.check(l) {
				t.Errorf("lease %+v", l)
			}
		})
	}
}

func TestDuplicateAnswers(t *testing.T) {
	s, _ := newServer(t)
	s.do(func(s *server, r seen) {
		for range 50 {
			s.hasty(r)
		}
	})
	k := run(t, dhcp.Config{})
	k.bound()
	k.until("renewing", func(u dhcp.Update) bool { return u.State == dhcp.Renewing })
	k.bound()
	k.stop()
	if n := len(s.requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
}

// A second server that is faster wins, is reported, and is reported once.
func TestTwoServers(t *testing.T) {
	s, _ := newServer(t)
	other := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 0, 2, 66})), dhcpv4.WithYourIP(net.IP{192, 0, 2, 166})}
	s.do(func(s *server, r seen) {
		if r.MessageType() == dhcpv4.MessageTypeDiscover {
			s.lease(r)
			s.lease(r, other...)
			return
		}
		// Wait until the second offer must have been read.
		for range 10 {
			s.send(r, reply(r, dhcpv4.MessageTypeOffer, other...).ToBytes())
		}
		s.lease(r)
	})
	k := run(t, dhcp.Config{})
	u := k.until("a lease", func(u dhcp.Update) bool { return u.State == dhcp.Bound })
	if u.Lease.Server != serverIP || u.Diagnosis != dhcp.OtherServer {
		t.Errorf("%+v with %+v", u, u.Lease)
	}
}

func TestNAKFlood(t *testing.T) {
	s, _ := newServer(t)
	s.do(func(s *server, r seen) {
		if r.MessageType() == dhcpv4.MessageTypeDiscover {
			s.lease(r)
			return
		}
		nak := reply(r, dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptMessage("go away"))).ToBytes()
		for range 2000 {
			s.send(r, nak)
		}
	})
	k := run(t, dhcp.Config{})
	start := time.Now()
	u := k.until("a refusal", func(u dhcp.Update) bool { return u.Diagnosis == dhcp.Refused })
	if u.Lease != nil || u.Detail != "go away" {
		t.Errorf("%+v", u)
	}
	s.next(dhcpv4.MessageTypeDiscover)
	s.next(dhcpv4.MessageTypeDiscover) // after 1 s
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("it asks again after %v", d)
	}
	k.stop()
	if n := len(s.requests()); n > 5 {
		t.Errorf("%d requests in %v", n, time.Since(start))
	}
}

// 10,000 offers a second that pass every cheap test, each from another server.
// The client stays responsive and its memory flat.
func TestOfferFlood(t *testing.T) {
	s, _ := newServer(t)
	var flooded, requested atomic.Pointer[seen]
	s.do(func(s *server, r seen) {
		switch r.MessageType() {
		case dhcpv4.MessageTypeDiscover:
			flooded.Store(&r)
			s.lease(r)
		case dhcpv4.MessageTypeRequest:
			requested.Store(&r)
		}
	})
	k := run(t, dhcp.Config{})
	s.next(dhcpv4.MessageTypeRequest)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	sent, start := 0, time.Now()
	offer := reply(*flooded.Load(), dhcpv4.MessageTypeOffer)
	template := wrap(mac, leasedIP.Addr(), offer.ToBytes())
	at := bytes.Index(template, []byte{54, 4}) + 2
	flood := func(d time.Duration) {
		for began := time.Now(); time.Since(began) < d; {
			// As many as are due since the start, whatever the scheduler does.
			for due := int(time.Since(start).Seconds() * 10_000); sent < due; sent++ {
				binary.BigEndian.PutUint32(template[at:], 0x0a000001+uint32(sent)%0xffffff)
				s.write(mac, template)
			}
			time.Sleep(time.Millisecond)
		}
	}
	flood(1500 * time.Millisecond)
	grown := int64(heap()) - int64(before)
	received := k.received.Load()
	t.Logf("%d offers sent, %d decoded, heap grew by %d bytes", sent, received, grown)
	if received < 100 {
		t.Errorf("only %d of %d offers reached the client", received, sent)
	}
	if grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	// In the middle of it the server confirms.
	done := make(chan struct{})
	go func() { defer close(done); flood(500 * time.Millisecond) }()
	s.lease(*requested.Load())
	confirmed := time.Now()
	l := k.bound()
	if d := time.Since(confirmed); l.Prefix != leasedIP || d > 2*time.Second {
		t.Errorf("bound %v after the ACK: %+v", d, l)
	}
	<-done
	k.stop()
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}

	// And it can be stopped in the middle.
	s.do(func(s *server, r seen) { flooded.Store(&r) })
	k = run(t, dhcp.Config{})
	r := s.next(dhcpv4.MessageTypeDiscover)
	copy(template[14+28+4:], r.TransactionID[:])
	copy(template[at:], []byte{0, 0, 0, 0}) // none that it could request
	sent, start = 0, time.Now()
	done = make(chan struct{})
	go func() { defer close(done); flood(300 * time.Millisecond) }()
	eventually(t, "flood arrives", func() bool { return k.received.Load() > 100 })
	took := k.stop()
	t.Logf("stopped in %v", took)
	if took > time.Second {
		t.Errorf("it took %v to stop", took)
	}
	<-done
}

// What a hostile server says in one exchange must not be remembered in the next.
func TestLateAnswer(t *testing.T) {
	s, _ := newServer(t)
	var first atomic.Pointer[seen]
	s.do(func(_ *server, r seen) { first.CompareAndSwap(nil, &r) })
	k := run(t, dhcp.Config{})
	s.next(dhcpv4.MessageTypeDiscover)
	k.client.Carrier(false)
	s.do(func(s *server, r seen) {
		evil := reply(*first.Load(), dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IP{192, 0, 2, 66}))
		s.send(r, evil.ToBytes())
		s.lease(r)
	})
	k.client.Carrier(true)
	if l := k.bound(); l.Prefix != leasedIP {
		t.Errorf("lease %+v", l)
	}
	want := netip.MustParseAddr("192.0.2.100")
	if !slices.ContainsFunc(s.requests(), func(r seen) bool { return r.RequestedIPAddress().Equal(want.AsSlice()) }) {
		t.Error("the sound offer was not requested")
	}
}

// Somebody on the segment answers every attempt to keep the lease before the
// server does: under another identifier with a NAK, with another address, with a
// confirmation of its own. Whoever does not also take the server's identifier gets
// nowhere, and the address stays throughout.
func TestForgedAnswers(t *testing.T) {
	attacker := dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 0, 2, 66}))
	elsewhere := dhcpv4.WithYourIP(net.IP{192, 0, 2, 166})
	s, _ := newServer(t)
	renews := 0
	s.do(func(s *server, r seen) {
		if r.to == serverIP {
			if renews++; renews == 1 {
				return // is lost, so that a REBIND follows
			}
		}
		if r.MessageType() == dhcpv4.MessageTypeRequest && !r.Options.Has(dhcpv4.OptionServerIdentifier) {
			for _, forged := range []*dhcpv4.DHCPv4{
				reply(r, dhcpv4.MessageTypeNak, attacker),
				reply(r, dhcpv4.MessageTypeAck, attacker, elsewhere),
				reply(r, dhcpv4.MessageTypeAck, attacker, dhcpv4.WithLeaseTime(1<<31)),
				reply(r, dhcpv4.MessageTypeAck, elsewhere, dhcpv4.WithTransactionID(dhcpv4.TransactionID{6, 6, 6, 6})),
				reply(r, dhcpv4.MessageTypeNak, dhcpv4.WithTransactionID(dhcpv4.TransactionID{6, 6, 6, 6})),
			} {
				s.send(r, forged.ToBytes())
			}
		}
		s.lease(r, dhcpv4.WithLeaseTime(4))
	})
	file := dhcp.PathFile(filepath.Join(t.TempDir(), "wan.lease"))
	k := run(t, dhcp.Config{LeaseFile: file})
	k.bound()
	k.client.Carrier(false)
	k.client.Carrier(true) // INIT-REBOOT
	seen := map[dhcp.State]bool{}
	for n := 0; n < 3; {
		u := k.until("an update", func(dhcp.Update) bool { return true })
		if u.Lease == nil || u.Lease.Prefix != leasedIP || u.Lease.Server != serverIP || u.Lease.TTL != 4*time.Second {
			t.Fatalf("%+v with %+v", u, u.Lease)
		}
		if seen[u.State] = true; u.State == dhcp.Bound {
			n++
		}
	}
	for _, state := range []dhcp.State{dhcp.Rebooting, dhcp.Renewing, dhcp.Rebinding} {
		if !seen[state] {
			t.Errorf("no %v was tried; sent %v", state, lines(s))
		}
	}
}
