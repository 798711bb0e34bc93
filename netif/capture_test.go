package netif

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frame is one captured Ethernet frame.
type frame struct {
	at   time.Time // zero: unknown
	data []byte
}

func (f frame) String() string {
	return fmt.Sprintf("%s > %s type %04x: %x", net.HardwareAddr(f.data[6:12]), net.HardwareAddr(f.data[0:6]), f.etherType(), f.data[14:])
}

func (f frame) etherType() uint16 { return binary.BigEndian.Uint16(f.data[12:]) }

func (f frame) from(mac net.HardwareAddr) bool { return string(f.data[6:12]) == string(mac) }

// tap captures what leaves a device, or what arrives at it.
type tap struct {
	t      *testing.T
	fd     int
	leaves bool
}

// newTap captures in the namespace of the calling thread. Of what leaves, the
// kernel makes the copy inside the transmit call, so a frame is captured before
// the call that sent it returns.
func newTap(t *testing.T, device string, leaves bool) *tap {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		t.Fatal(err)
	}
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		t.Fatal(err)
	}
	return &tap{t: t, fd: fd, leaves: leaves}
}

// take returns the frames captured since the last call.
func (c *tap) take() []frame {
	c.t.Helper()
	var frames []frame
	buf, oob := make([]byte, 2048), make([]byte, 256)
	for {
		now := time.Now()
		n, oobn, _, from, err := unix.Recvmsg(c.fd, buf, oob, 0)
		if err == unix.EAGAIN {
			if n, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || n.Drops > 0 {
				c.t.Fatalf("capture is incomplete: %+v, %v", n, err)
			}
			return frames
		}
		if err == unix.ENETDOWN { // told once of a device that was down
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		ll := from.(*unix.SockaddrLinklayer)
		if n < 14 || c.leaves != (ll.Pkttype == unix.PACKET_OUTGOING) {
			continue
		}
		f := frame{data: append([]byte(nil), buf[:n]...)}
		cmsgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range cmsgs {
			if m.Header.Type == unix.SO_TIMESTAMPNS {
				f.at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
		if f.at.After(now) {
			// The kernel begins to take the time a moment after it was asked to. What
			// it captured before has that of the reading.
			f.at = time.Time{}
		}
		frames = append(frames, f)
	}
}

// inject sends a frame out of a device of the calling thread's namespace.
func inject(device string, data []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, data, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
}

// ipv4Frame builds a frame with an IPv4 packet.
func ipv4Frame(dst, src net.HardwareAddr, from, to netip.Addr, proto byte, body []byte) []byte {
	b := append(append([]byte(nil), dst...), src...)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	h := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], checksum(h, 0))
	return append(append(b, h...), body...)
}

// checksum is that of RFC 1071.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func echoRequest() []byte {
	b := []byte{8, 0, 0, 0, 0, 1, 0, 1}
	binary.BigEndian.PutUint16(b[2:], checksum(b, 0))
	return b
}

// tcpSYN builds a SYN between two addresses.
func tcpSYN(from, to netip.Addr, port uint16) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], port)
	b[12], b[13] = 5<<4, 2
	b[14], b[15] = 0xff, 0xff
	pseudo := append(append([]byte(nil), from.AsSlice()...), to.AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, 20)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(pseudo[i])<<8 | uint32(pseudo[i+1])
	}
	binary.BigEndian.PutUint16(b[16:], checksum(b, sum))
	return b
}

// udp builds a datagram without a checksum, which IPv4 allows.
func udp(port uint16) []byte {
	b := []byte{0x9c, 0x40, 0, 0, 0, 9, 0, 0, 'x'}
	binary.BigEndian.PutUint16(b[2:], port)
	return b
}
