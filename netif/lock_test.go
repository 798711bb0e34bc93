package netif

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bypass is PACKET_QDISC_BYPASS.
const bypass = 20

// injectPast sends a frame past the queueing discipline.
func injectPast(device string, data []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, bypass, 1); err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	_ = unix.Sendto(fd, data, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}) // ENOBUFS: dropped
	return nil
}

// locks says which of the two locks of the link hold.
func (b *bench) locks() (blackhole, carrier bool) {
	b.t.Helper()
	l, err := b.nl.getLink(wan.Name)
	if err != nil {
		b.t.Fatal(err)
	}
	return l.blackholed(), l.carrierLocked()
}

// TestOneLockIsEnough: what a shaper's script does to the root of a muted link lets
// nothing out, on whatever way, and masqueraded entries live.
func TestOneLockIsEnough(t *testing.T) {
	for name, undo := range map[string]func(t *testing.T, b *bench){
		"the discipline is deleted":  func(t *testing.T, _ *bench) { tc(t, "qdisc", "del", "dev", "wan", "root") },
		"the discipline is replaced": func(t *testing.T, _ *bench) { tc(t, "qdisc", "replace", "dev", "wan", "root", "pfifo") },
		"the carrier is given back":  func(t *testing.T, _ *bench) { ip(t, "link", "set", "wan", "protodown", "off") },
		"the parent loses its carrier for a moment": func(t *testing.T, b *bench) {
			for _, state := range []string{"down", "up"} {
				b.isp.Do(t, func() error {
					_, err := b.isp.Command("ip", "link", "set", "isp0", state).CombinedOutput()
					return err
				})
				waitFor(t, "the parent's carrier to be "+state, func() bool { return b.observe().ParentCarrier == (state == "up") })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.gateway()
			lan := b.withLAN()
			flow := b.masquerade(lan)
			d := lease("198.51.100.7/24")
			b.apply(d)
			if _, err := flow.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the entry", func() bool { return entries(t) == 1 })
			all := ways(t, b, lan)
			out := newTap(t, "port0", true)
			if err := b.Mute(t.Context(), wan); err != nil {
				t.Fatal(err)
			}
			if blackhole, carrier := b.locks(); !blackhole || !carrier {
				t.Fatalf("muted with discipline %v, carrier %v", blackhole, carrier)
			}
			time.Sleep(settle)
			out.take()
			if n := entries(t); n != 1 {
				t.Errorf("%d entries of the flow after muting", n)
			}
			undo(t, b)
			_, _ = flow.Write([]byte("x"))
			time.Sleep(settle)
			if n := entries(t); n != 1 {
				t.Errorf("%d entries of the flow", n)
			}
			if o := b.observe(); !o.Muted || !o.Loose {
				t.Errorf("muted %v, loose %v", o.Muted, o.Loose)
			}
			for name, way := range all {
				if err := way(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			time.Sleep(settle)
			for _, f := range out.take() {
				if f.from(shared) {
					t.Errorf("left: %v", f)
				}
			}
			b.steps = nil
			if err := b.Mute(t.Context(), wan); err != nil || len(b.steps) != 1 {
				t.Errorf("mute again: %v, steps %q", err, b.steps)
			}
			if o := b.observe(); !o.Muted || o.Loose {
				t.Errorf("after that: muted %v, loose %v", o.Muted, o.Loose)
			}
			b.apply(d)
			if o := b.observe(); o.Muted || o.Loose || !o.Carrier {
				t.Errorf("unmuted: %+v", o)
			}
		})
	}
}

func tc(t *testing.T, args ...string) {
	t.Helper()
	if out, err := command("tc", args...); err != nil {
		t.Fatalf("tc %v: %v: %s", args, err, out)
	}
}

// TestMutePastTheDiscipline: a packet socket may ask to go past it. The carrier
// holds that, too.
func TestMutePastTheDiscipline(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	out := newTap(t, "port0", true)
	frame := arp{op: arpRequest, senderMAC: shared, senderIP: wanIP, targetMAC: make(net.HardwareAddr, 6), targetIP: gatewayIP}.frame()
	if err := injectPast("wan", frame); err != nil || len(out.take()) == 0 {
		t.Fatalf("nothing leaves an unmuted link (%v): the test proves nothing", err)
	}
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	if err := injectPast("wan", frame); err != nil || len(out.take()) > 0 {
		t.Errorf("a frame left a mute link past its discipline (%v)", err)
	}
}

// TestMuteMeetsAnotherDiscipline: one that somebody attached is replaced.
func TestMuteMeetsAnotherDiscipline(t *testing.T) {
	b := newBench(t)
	b.gateway()
	b.apply(lease("198.51.100.7/24"))
	tc(t, "qdisc", "add", "dev", "wan", "root", "handle", "7:", "pfifo", "limit", "10")
	out := newTap(t, "port0", true)
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	if blackhole, carrier := b.locks(); !blackhole || !carrier {
		t.Errorf("discipline %v, carrier %v", blackhole, carrier)
	}
	_ = sendOnDevice("wan", "198.51.100.1:9")
	if frames := out.take(); len(frames) > 0 {
		t.Errorf("left: %v", frames)
	}
}

// TestMuteWhereTheCarrierCannotBeTaken: the first lock is all that such a kernel has.
func TestMuteWhereTheCarrierCannotBeTaken(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	b.noProtoDown.Store(true)
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	if o := b.observe(); !o.Muted || o.Loose || !o.Carrier {
		t.Errorf("%+v", o)
	}
	b.steps = nil
	if c := b.apply(lease("198.51.100.7/24")); !c.Unmuted || !slices.Equal(b.steps, []string{"unmute link"}) {
		t.Errorf("unmuting took %q", b.steps)
	}
}

// TestUnmuteComesLast: not before the address, the routes and the removal of what
// an earlier lease left.
func TestUnmuteComesLast(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.9/24"))
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "set", "wan", "down")
	b.steps = nil
	c := b.apply(lease("198.51.100.7/24"))
	want := []string{"set up link", "add address", "add route", "delete address", "unlock carrier", "unmute link"}
	if !c.Unmuted || !slices.Equal(b.steps, want) {
		t.Errorf("steps %q, want %q", b.steps, want)
	}
	if o := b.observe(); o.Muted || !o.Carrier {
		t.Errorf("%+v", o)
	}
}

// TestWatchTellsOfDisciplines: no other event reports them.
func TestWatchTellsOfDisciplines(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "add", "other", "link", "port0", "type", "macvlan")
	ctx, cancel := context.WithCancel(t.Context())
	events, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		for range events {
		}
		ip(t, "link", "del", "other")
	}()
	if e := <-events; e.Kind != Resync {
		t.Fatalf("first event: %v", e.Kind)
	}
	for _, args := range [][]string{{"add", "dev", "other", "root", "pfifo"}, {"del", "dev", "wan", "root"}, {"add", "dev", "wan", "root", "pfifo"}} {
		tc(t, append([]string{"qdisc"}, args...)...)
	}
	for n := 0; n < 2; {
		select {
		case e := <-events:
			if e.Kind == LinkChanged { // its carrier, which the kernel reports later
				continue
			}
			n++
			if e.Kind != QdiscChanged || e.Name != "wan" || !e.Owned {
				t.Errorf("event: %+v", e)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nobody was told of the change")
		}
	}
}
