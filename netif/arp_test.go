package netif

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAnnounce(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	peer := b.peerTap()
	start := time.Now()
	if err := b.Announce(t.Context(), "wan", wanIP, shared); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of its socket", func() bool {
		s, err := os.ReadFile("/proc/thread-self/net/packet")
		return err == nil && strings.Count(string(s), "\n") == 1
	})
	time.Sleep(settle)
	frames := peer.take()
	// As the documents say.
	times := []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}
	if len(frames) != 2*len(times) {
		t.Fatalf("%d frames, want %d", len(frames), 2*len(times))
	}
	// Checked against the layout of RFC 826, byte by byte.
	const head = "\xff\xff\xff\xff\xff\xff" + "\x02\x68\x71\x2e\x62\x67" + "\x08\x06" + "\x00\x01\x08\x00\x06\x04"
	const sender = "\x02\x68\x71\x2e\x62\x67" + "\xc6\x33\x64\x07"
	want := []string{
		head + "\x00\x01" + sender + "\x00\x00\x00\x00\x00\x00" + "\xc6\x33\x64\x07",
		head + "\x00\x02" + sender + "\x02\x68\x71\x2e\x62\x67" + "\xc6\x33\x64\x07",
	}
	for i, f := range frames {
		if string(f.data) != want[i%2] {
			t.Errorf("frame %d is %x, want %x", i, f.data, want[i%2])
		}
		due := start.Add(times[i/2])
		if f.at.IsZero() {
			continue
		}
		if f.at.Before(due) || f.at.After(due.Add(100*time.Millisecond)) {
			t.Errorf("frame %d came %v after the start, want %v", i, f.at.Sub(start), times[i/2])
		}
	}
}

func TestAnnounceStopsAtOnce(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	out := newTap(t, "port0", true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Announce(ctx, "wan", wanIP, shared) }()
	waitFor(t, "the first frames", func() bool { return len(out.take()) > 0 })
	cancel()
	start := time.Now()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 20*time.Millisecond {
		t.Errorf("took %v to stop", took)
	}
	out.take()
	time.Sleep(60 * time.Millisecond) // the next would have come at 50 ms
	if f := out.take(); len(f) > 0 {
		t.Errorf("sent after the end: %v", f)
	}
	if err := b.Announce(t.Context(), "absent", wanIP, shared); !errors.Is(err, ErrNoLink) {
		t.Errorf("absent link: %v", err)
	}
	if err := b.Announce(t.Context(), "wan", addr("::1"), shared); err == nil {
		t.Error("announced an IPv6 address by ARP")
	}
}

func TestProbeGateway(t *testing.T) {
	b := newBench(t)
	b.gateway()
	b.apply(lease("198.51.100.7/24"))
	rtt, err := b.ProbeGateway(t.Context(), "wan", wanIP, gatewayIP)
	if err != nil || rtt <= 0 || rtt > time.Second {
		t.Errorf("probe: %v, %v", rtt, err)
	}
	t.Logf("answer after %v", rtt)

	// The kernel learns the gateway's MAC from the answer, too: nothing has to be
	// resolved when the first packet comes. Both see the same frame.
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	peer := b.peerTap()
	if _, err := b.ProbeGateway(ctx, "wan", wanIP, addr("198.51.100.9")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
	if f := peer.take(); len(f) != 1 {
		t.Errorf("%d requests within 60 ms, want 1", len(f))
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	if _, err := b.ProbeGateway(ctx, "wan", wanIP, addr("198.51.100.9")); !errors.Is(err, context.Canceled) || time.Since(start) > 100*time.Millisecond {
		t.Errorf("cancelled: %v after %v", err, time.Since(start))
	}
	if _, err := b.ProbeGateway(t.Context(), "absent", wanIP, gatewayIP); !errors.Is(err, ErrNoLink) {
		t.Errorf("absent link: %v", err)
	}
}

// TestProbeIgnoresOthers has every wrong kind of ARP packet arrive, and the right
// one last.
func TestProbeIgnoresOthers(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	var gw net.HardwareAddr
	b.isp.Do(t, func() error {
		ifi, err := net.InterfaceByName("isp0")
		gw = ifi.HardwareAddr
		return err
	})
	right := arp{op: arpReply, senderMAC: gw, senderIP: gatewayIP, targetMAC: shared, targetIP: wanIP}
	request, otherSender, otherTarget := right, right, right
	request.op, otherSender.senderIP, otherTarget.targetIP = arpRequest, addr("198.51.100.2"), addr("198.51.100.2")
	peer := b.peerTap()
	type result struct {
		rtt time.Duration
		err error
	}
	done := make(chan result, 1)
	go func() {
		rtt, err := b.ProbeGateway(t.Context(), "wan", wanIP, gatewayIP)
		done <- result{rtt, err}
	}()
	waitFor(t, "the request", func() bool { return len(peer.take()) > 0 })
	send := func(a arp) {
		b.isp.Do(t, func() error { return inject("isp0", a.frame()) })
	}
	for _, a := range []arp{request, otherSender, otherTarget} {
		send(a)
	}
	select {
	case r := <-done:
		t.Fatalf("took a wrong packet for the answer: %+v", r)
	case <-time.After(3 * settle):
	}
	send(right)
	if r := <-done; r.err != nil || r.rtt < 3*settle {
		t.Errorf("%+v", r)
	}
}
