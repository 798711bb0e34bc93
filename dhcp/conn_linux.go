package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	clientPort = 68
	serverPort = 67
	// readBuffer holds any frame of a parent with jumbo frames. A longer one is cut,
	// and then refused since its IP length does not fit.
	readBuffer = 16 << 10
)

// sockets is the transport of a real interface.
//
// Answers are always taken from a packet socket: before there is an address
// nothing else sees them, and later it is immune to a firewall without a rule for
// port 68 and to servers that answer a RENEW from an unexpected address. Requests
// of RENEWING and REBINDING leave through a UDP socket, so that source, route
// and neighbour are the kernel's.
type sockets struct {
	iface    string
	mac      net.HardwareAddr
	priority int
}

type socketConn struct {
	sockets
	raw  *packet.Conn
	rc   syscall.RawConn
	done chan struct{}

	mu     sync.Mutex
	guard  *net.UDPConn // nil if there is another owner of the port
	udp    *net.UDPConn
	from   netip.Addr // of udp
	closed bool
}

func (s *sockets) open(wanted func([]byte) bool, deliver chan<- datagram) (conn, error) {
	ifi, err := findInterface(s.iface)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w (%w)", s.iface, unix.ENODEV, err)
	}
	filter, err := captureFilter(s.mac)
	if err != nil {
		return nil, err
	}
	raw, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", s.iface, err)
	}
	c := &socketConn{sockets: *s, raw: raw, done: make(chan struct{})}
	if c.rc, err = raw.SyscallConn(); err == nil {
		err = c.setup()
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("set up packet socket on %s: %w", s.iface, err)
	}
	// The answer to an INIT-REBOOT goes to an address that may be in use already.
	// Without a socket there the kernel would tell the server that its ACK is
	// unwanted. Whoever else has the port prevents that as well.
	c.guard, _ = s.openUDP(context.Background(), netip.IPv4Unspecified())
	go c.read(wanted, deliver)
	return c, nil
}

func (c *socketConn) setup() error {
	var err error
	if e := c.rc.Control(func(fd uintptr) {
		err = errors.Join(
			os.NewSyscallError("setsockopt PACKET_AUXDATA", unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)),
			setPriority(fd, c.priority),
		)
	}); e != nil {
		return e
	}
	return err
}

func setPriority(fd uintptr, priority int) error {
	if priority == 0 {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_PRIORITY", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, priority))
}

// read delivers until the socket is closed or fails.
func (c *socketConn) read(wanted func([]byte) bool, deliver chan<- datagram) {
	buf := make([]byte, readBuffer)
	oob := make([]byte, unix.CmsgSpace(sizeofAuxdata))
	for {
		n, status, err := c.receive(buf, oob)
		d := datagram{from: c, err: err}
		if err == nil {
			payload, ok := udpPayload(buf[:n], status&unix.TP_STATUS_CSUMNOTREADY == 0)
			if !ok || !wanted(payload) {
				continue
			}
			d.payload = append([]byte(nil), payload...)
		}
		select {
		case deliver <- d:
		case <-c.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// sizeofAuxdata is sizeof(struct tpacket_auxdata) of linux/if_packet.h; its first
// word holds the status.
const sizeofAuxdata = 20

// receive reads one packet from the IP header on, and the kernel's word about its
// checksum.
func (c *socketConn) receive(buf, oob []byte) (n int, status uint32, err error) {
	var oobn int
	e := c.rc.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, _, err = unix.Recvmsg(int(fd), buf, oob, 0)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if err = errors.Join(e, err); err != nil {
		return 0, 0, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, 0, nil // no word, then the checksum counts
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			status = nativeUint32(m.Data)
		}
	}
	return n, status, nil
}

var broadcastMAC = &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}

func (c *socketConn) broadcast(payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	_, err := c.raw.WriteTo(broadcastDatagram(payload), broadcastMAC)
	return err
}

func (c *socketConn) routed(from, to netip.Addr, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.udp == nil || c.from != from {
		if c.udp != nil {
			_ = c.udp.Close()
		}
		udp, err := c.openUDP(context.Background(), from)
		if err != nil {
			return err
		}
		c.udp, c.from = udp, from
	}
	_, err := c.udp.WriteToUDPAddrPort(payload, netip.AddrPortFrom(to, serverPort))
	return err
}

// openUDP opens a socket that sends from the client port of the address. Nothing
// is read from it: it only keeps the kernel from answering the server with "port
// unreachable".
func (s *sockets) openUDP(ctx context.Context, from netip.Addr) (*net.UDPConn, error) {
	drop, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if e := rc.Control(func(fd uintptr) {
			prog := unix.SockFprog{Len: uint16(len(drop)), Filter: sockFilter(drop)}
			err = errors.Join(
				os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(int(fd), s.iface)),
				os.NewSyscallError("setsockopt SO_REUSEADDR", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
				os.NewSyscallError("setsockopt SO_BROADCAST", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)),
				os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)),
				setPriority(fd, s.priority),
			)
		}); e != nil {
			return e
		}
		return err
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(from, clientPort).String())
	if err != nil {
		return nil, fmt.Errorf("open UDP socket on %s: %w", s.iface, err)
	}
	return pc.(*net.UDPConn), nil
}

// close stops transmission at once. The packet socket's close(2) itself goes
// on in the background: the kernel waits in it until no CPU can still be looking
// at the socket (synchronize_net), which takes tens of milliseconds that neither
// a fresh lease nor a demotion has.
func (c *socketConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // ends the reader even before close does
	for _, udp := range []*net.UDPConn{c.guard, c.udp} {
		if udp != nil {
			_ = udp.Close()
		}
	}
	go func() { _ = c.raw.Close() }()
}
