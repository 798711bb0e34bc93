package keeper_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dhcpRelease is the message type of a DHCPRELEASE.
const dhcpRelease = 7

// packets are frames that the ISP got.
type packets struct {
	mu     sync.Mutex
	frames [][]byte
}

// capture listens at the ISP's end of the line until the test ends.
func (w *world) capture() *packets {
	w.t.Helper()
	var f *os.File
	w.isp.Do(w.t, func() error {
		ifi, err := net.InterfaceByName("isp0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "capture")
		const all = uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	})
	p := &packets{}
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := f.Read(buf)
			if errors.Is(err, unix.ENETDOWN) { // said once, when the interface goes down
				continue
			}
			if err != nil {
				return
			}
			p.mu.Lock()
			p.frames = append(p.frames, bytes.Clone(buf[:n]))
			p.mu.Unlock()
		}
	})
	w.t.Cleanup(func() {
		_ = f.Close()
		reader.Wait()
	})
	return p
}

// from counts the frames with a source address.
func (p *packets) from(mac string) (n int) {
	time.Sleep(50 * time.Millisecond) // there is no event for a frame that does not come
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if net.HardwareAddr(f[6:12]).String() == mac {
			n++
		}
	}
	return n
}

// send has a program of the router talk out of the WAN until stop.
func (w *world) send() (stop func()) {
	w.t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if ctl := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), wanName) }); ctl != nil {
			return ctl
		}
		return err
	}}
	conn, err := lc.ListenPacket(w.t.Context(), "udp4", "")
	if err != nil {
		w.t.Fatal(err)
	}
	var talk sync.WaitGroup
	talk.Go(func() {
		for err := error(nil); !errors.Is(err, net.ErrClosed); time.Sleep(100 * time.Microsecond) {
			_, err = conn.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(100, 64, 10, 1), Port: 9})
		}
	})
	return func() {
		_ = conn.Close()
		talk.Wait()
	}
}

// dhcp counts the messages of a type to a DHCP server, 0 being any.
func (p *packets) dhcp(kind byte) (n int) {
	time.Sleep(50 * time.Millisecond) // there is no event for a frame that does not come
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if len(f) < 14+20+8+240 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || f[23] != unix.IPPROTO_UDP {
			continue
		}
		udp := f[14+4*int(f[14]&15):]
		if binary.BigEndian.Uint16(udp[2:]) != 67 {
			continue
		}
		for o := udp[8+240:]; len(o) > 2 && o[0] != 255; {
			if o[0] == 0 {
				o = o[1:]
				continue
			}
			if o[0] == 53 && (kind == 0 || o[2] == kind) {
				n++
			}
			o = o[min(2+int(o[1]), len(o)):]
		}
	}
	return n
}

// announced counts the frames that announce an address: ARP whose sender is its
// target.
func (p *packets) announced() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if len(f) >= 14+28 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_ARP && bytes.Equal(f[14+14:14+18], f[14+24:14+28]) {
			n++
		}
	}
	return n
}
