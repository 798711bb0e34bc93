package dhcp

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lo replaces a WAN where only the socket itself matters.
func TestSocketOptions(t *testing.T) {
	s := &sockets{iface: "lo", mac: testMAC, priority: 6}
	c, err := s.open(func([]byte) bool { return false }, make(chan datagram))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	sc := c.(*socketConn)
	// The UDP sockets only hold the port: what comes there is dropped, and whoever
	// sent it gets no "port unreachable".
	peer, err := net.Dial("udp4", "127.0.0.1:68")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	refused := func() {
		for range 2 { // an ICMP error to the first would fail the second
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
	}
	refused()
	if err := c.routed(ip("127.0.0.1"), ip("127.0.0.1"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	udp, err := sc.udp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(name int) func(fd uintptr) int {
		return func(fd uintptr) int {
			v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name)
			if err != nil {
				t.Error(err)
			}
			return v
		}
	}
	get := func(control func(func(uintptr)) error, f func(uintptr) int) (v int) {
		if err := control(func(fd uintptr) { v = f(fd) }); err != nil {
			t.Error(err)
		}
		return v
	}
	if got := get(sc.rc.Control, option(unix.SO_PRIORITY)); got != 6 {
		t.Errorf("priority of the packet socket is %d", got)
	}
	if got := get(udp.Control, option(unix.SO_PRIORITY)); got != 6 {
		t.Errorf("priority of the UDP socket is %d", got)
	}
	if err := udp.Control(func(fd uintptr) {
		if dev, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE); err != nil || dev != "lo" {
			t.Errorf("the UDP socket is bound to %q, %v", dev, err)
		}
	}); err != nil {
		t.Error(err)
	}
	refused()
	if err := sc.udp.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := sc.udp.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes arrived at the UDP socket", n)
	}
	c.close()
	c.close() // harmless
	if c.broadcast([]byte("x")) == nil || c.routed(ip("127.0.0.1"), ip("127.0.0.1"), []byte("x")) == nil {
		t.Error("a closed connection transmits")
	}
}

func TestBootAlarm(t *testing.T) {
	a, err := bootClock{}.newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	rings := func(at time.Duration) {
		t.Helper()
		if err := a.set(at); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.C():
			if now := BootTime(); now < at {
				t.Errorf("rang %v early", at-now)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("does not ring")
		}
	}
	rings(0)                                  // past
	rings(BootTime() + 5*time.Millisecond)    // soon
	if err := a.set(BootTime()); err != nil { // rings, and the ring is stale
		t.Fatal(err)
	}
	if err := a.set(never); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Millisecond)
	for n := 0; ; n++ {
		select {
		case <-a.C():
			if n > 0 {
				t.Fatal("rings though disarmed")
			}
			continue
		case <-deadline:
		}
		return
	}
}
