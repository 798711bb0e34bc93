package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Frame is one that was on the wire.
type Frame struct {
	At time.Time // by the kernel, when it passed
	// FromMachine: sent by the machine at the port. Otherwise the switch
	// delivered it to the machine.
	FromMachine bool
	Port        Port
	Data        []byte // from the destination MAC address on
}

// Dst and Src are the MAC addresses.
func (f Frame) Dst() net.HardwareAddr { return net.HardwareAddr(f.Data[0:6]) }
func (f Frame) Src() net.HardwareAddr { return net.HardwareAddr(f.Data[6:12]) }

// Capture is a listener on a port. It sees each frame that matches its filter
// from the moment that Capture returned.
type Capture struct {
	port Port
	keep bool
	file *os.File
	done chan struct{}

	mu     sync.Mutex
	frames []Frame
	err    error
	watch  []func(Frame)
	more   chan struct{} // closed and replaced at each frame
}

// Capture listens on a port with a filter; nil takes everything.
func (l *Lab) Capture(port Port, filter Filter) (*Capture, error) {
	return l.capture(port, filter, true)
}

// capture may leave the frames to OnFrame instead of keeping them.
func (*Lab) capture(port Port, filter Filter, keep bool) (*Capture, error) {
	return capture(port, filter, keep)
}

// Listen is Capture for an interface of the network namespace of the calling
// thread, which need not be one of a lab.
func Listen(iface string, filter Filter) (*Capture, error) {
	return capture(Port(iface), filter, true)
}

func capture(port Port, filter Filter, keep bool) (*Capture, error) {
	ifi, err := net.InterfaceByName(string(port))
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", port, err)
	}
	c, err := listen(ifi.Index, filter)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", port, err)
	}
	c.port, c.keep = port, keep
	go c.run()
	return c, nil
}

// htons is the protocol number as the kernel wants it.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

func listen(ifindex int, filter Filter) (_ *Capture, err error) {
	// Protocol 0: nothing arrives before the filter is in place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if filter != nil {
		raw, err := bpf.Assemble(filter)
		if err != nil {
			return nil, fmt.Errorf("assemble filter: %w", err)
		}
		prog := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return nil, os.NewSyscallError("attach filter", err)
		}
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16 << 20},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return &Capture{file: os.NewFile(uintptr(fd), "capture"), done: make(chan struct{}), more: make(chan struct{})}, nil
}

func (c *Capture) run() {
	defer close(c.done)
	raw, err := c.file.SyscallConn()
	if err != nil {
		c.fail(err)
		return
	}
	buf, oob := make([]byte, 65536), make([]byte, 256)
	for {
		var n, oobn int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, from, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if errors.Is(rerr, unix.ENETDOWN) || errors.Is(rerr, unix.EINTR) {
			continue // the port was cut; it may be plugged in again
		}
		if rerr != nil {
			c.fail(rerr)
			return
		}
		if n < 14 {
			continue
		}
		f := Frame{At: stamp(oob[:oobn]), Port: c.port, Data: slices.Clone(buf[:n])}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.FromMachine = ll.Pkttype != unix.PACKET_OUTGOING
		}
		c.add(f)
	}
}

// stamp is the kernel's time of the frame.
func stamp(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
				ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				return time.Unix(ts.Unix())
			}
		}
	}
	return time.Now()
}

func (c *Capture) add(f Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep {
		c.frames = append(c.frames, f)
	}
	for _, w := range c.watch {
		w(f)
	}
	close(c.more)
	c.more = make(chan struct{})
}

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// OnFrame has f called for each further frame. f must be quick.
func (c *Capture) OnFrame(f func(Frame)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = append(c.watch, f)
}

// Frames are those seen so far that match; nil matches all.
func (c *Capture) Frames(match func(Frame) bool) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Frame
	for _, f := range c.frames {
		if match == nil || match(f) {
			out = append(out, f)
		}
	}
	return out
}

// Wait returns the first frame that matches, of those already seen and those to
// come.
func (c *Capture) Wait(ctx context.Context, match func(Frame) bool) (Frame, error) {
	for seen := 0; ; {
		c.mu.Lock()
		frames, more := c.frames[seen:], c.more
		seen = len(c.frames)
		c.mu.Unlock()
		for _, f := range frames {
			if match(f) {
				return f, nil
			}
		}
		select {
		case <-ctx.Done():
			return Frame{}, fmt.Errorf("wait for a frame on %s: %w", c.port, context.Cause(ctx))
		case <-c.done:
			return Frame{}, fmt.Errorf("wait for a frame on %s: capture ended", c.port)
		case <-more:
		}
	}
}

// Close ends the capture; the frames stay. It reports what went wrong meanwhile,
// frames lost by the kernel included.
func (c *Capture) Close() error {
	var lost error
	if raw, err := c.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err == nil && st.Drops > 0 {
				lost = fmt.Errorf("capture on %s lost %d frames", c.port, st.Drops)
			}
		})
	}
	err := c.file.Close()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.err, lost, err)
}
