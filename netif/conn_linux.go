package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is a rtnetlink socket for requests, one at a time. The requests are those
// of package nl; its way to send them is not used since it takes fresh 64 KB for
// each message that arrives, which is most of what a promotion would allocate.
type conn struct {
	mu     sync.Mutex
	fd     int // -1: closed
	seq    uint32
	buffer [64 << 10]byte // the kernel's messages are at most half as long
}

func dial() (*conn, error) { return dialFamily(unix.NETLINK_ROUTE) }

// dialFamily opens a socket of another netlink family than rtnetlink.
func dialFamily(family int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	// Both options are refinements that old kernels lack (4.12 and 4.20):
	// reasons in errors, and dumps that the kernel filters. Without the latter
	// dumps are complete, and every reader here filters again anyway.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &conn{fd: fd}, nil
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// do sends one request and returns the payloads of the answer. The kernel answers
// in the call that sends, so nothing here waits for anybody else.
func (c *conn) do(typ, flags int, parts ...nl.NetlinkRequestData) (msgs [][]byte, err error) {
	err = c.stream(typ, flags, func(msg []byte) { msgs = append(msgs, append([]byte(nil), msg...)) }, parts...)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, err
	}
	return msgs, err
}

// stream sends one request and visits the payloads of the answer, which are gone
// when visit returns.
func (c *conn) stream(typ, flags int, visit func([]byte), parts ...nl.NetlinkRequestData) error {
	req := nl.NewNetlinkRequest(typ, flags)
	for _, p := range parts {
		req.AddData(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return os.ErrClosed
	}
	c.seq++
	req.Seq = c.seq
	if err := c.send(req); err != nil {
		return err
	}
	a := answer{seq: c.seq, visit: visit}
	for !a.complete {
		part, err := c.receive()
		if err != nil {
			return err
		}
		if err := a.add(part); err != nil {
			return err
		}
	}
	if a.interrupted {
		return nl.ErrDumpInterrupted
	}
	return nil
}

// send sends a request to the kernel.
func (c *conn) send(req *nl.NetlinkRequest) error {
	return os.NewSyscallError("send to rtnetlink", again(func() error {
		return unix.Sendto(c.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}))
}

// receive waits for what the kernel sends next, which is gone with the next call.
func (c *conn) receive() ([]byte, error) {
	for {
		var n int
		var from unix.Sockaddr
		if err := again(func() (err error) {
			n, from, err = unix.Recvfrom(c.fd, c.buffer[:], 0)
			return err
		}); err != nil {
			return nil, os.NewSyscallError("receive from rtnetlink", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == nl.PidKernel {
			return c.buffer[:n], nil
		} // else another process: it can send here, too
	}
}

func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// answer puts the messages of an answer together.
type answer struct {
	seq                   uint32
	visit                 func([]byte)
	interrupted, complete bool
}

// add takes what was received at once. The error is the kernel's.
func (a *answer) add(b []byte) error {
	for len(b) >= unix.SizeofNlMsghdr && !a.complete {
		length := int(binary.NativeEndian.Uint32(b))
		typ, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
		seq := binary.NativeEndian.Uint32(b[8:])
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return fmt.Errorf("rtnetlink: message of %d bytes in %d", length, len(b))
		}
		data := b[unix.SizeofNlMsghdr:length]
		b = b[min((length+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
		if seq != a.seq { // left of a request that failed half way
			continue
		}
		a.interrupted = a.interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		switch typ {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			a.complete = true
			return kernelError(typ, flags, data)
		}
		a.visit(data)
		a.complete = flags&unix.NLM_F_MULTI == 0
	}
	return nil
}

// kernelError reads the end of an answer: a negative errno, or zero, then, in an
// NLMSG_ERROR, the request, and perhaps the kernel's reason (NETLINK_EXT_ACK).
func kernelError(typ, flags uint16, data []byte) error {
	if len(data) < 4 || u32(data) == 0 {
		return nil
	}
	var err error = unix.Errno(-int32(u32(data)))
	data = data[4:]
	if flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	if typ == unix.NLMSG_ERROR {
		echo := unix.SizeofNlMsghdr // of the request its header at least
		if flags&unix.NLM_F_CAPPED == 0 {
			echo = int(u32(data)+unix.NLMSG_ALIGNTO-1) &^ (unix.NLMSG_ALIGNTO - 1)
		}
		if echo < 0 || echo > len(data) {
			return err
		}
		data = data[echo:]
	}
	for typ, val := range attributes(data) {
		if typ == nl.NLMSGERR_ATTR_MSG {
			err = fmt.Errorf("%w: %s", err, cstring(val))
		}
	}
	return err
}

// dumpTries bounds the repetitions of a dump that changes keep interrupting.
const dumpTries = 10

// dump lists objects. A list that a change interrupted may lack entries or hold
// one twice, so it is taken again.
func (c *conn) dump(typ int, parts ...nl.NetlinkRequestData) ([][]byte, error) {
	for try := 1; ; try++ {
		msgs, err := c.do(typ, unix.NLM_F_DUMP, parts...)
		if !errors.Is(err, nl.ErrDumpInterrupted) || try == dumpTries {
			return msgs, err
		}
	}
}
