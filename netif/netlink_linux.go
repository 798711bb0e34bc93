package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Manager changes the kernel. It is safe for concurrent use; operations on the
// same link follow one another.
type Manager struct {
	log  *slog.Logger
	nl   *conn
	step func(string)

	owner owner // whose links are ours

	// muteKind is the queueing discipline that Mute attaches.
	muteKind string

	// noProtoDown: the kernel cannot take the carrier of a macvlan away.
	noProtoDown atomic.Bool

	// noAddrProto: the kernel does not keep who put an address there.
	noAddrProto bool

	// mainClean: the main table holds no route of a backup; under the lock "".
	mainClean bool

	mu    sync.Mutex
	locks map[string]*sync.Mutex // by link name; as many as were ever configured
}

// Option changes a Manager at its making.
type Option func(*Manager)

// WithStep has f called right before every write to the kernel, with a short
// name of it ("add link", "set up link", ...). Tests use it to stop at, or to
// kill the process at, every step that exists. f is called in the goroutine of
// the operation, so by several at once if there are several.
func WithStep(f func(step string)) Option {
	return func(m *Manager) { m.step = f }
}

// New opens a Manager in the network namespace of the calling thread.
func New(log *slog.Logger, opts ...Option) (*Manager, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	m := &Manager{log: log, nl: c, step: func(string) {}, muteKind: muteKind, owner: theOwner, noAddrProto: !keepsOrigin(kernelRelease()), locks: map[string]*sync.Mutex{}}
	for _, o := range opts {
		o(m)
	}
	return m, nil
}

// Close releases the Manager's socket. It changes nothing in the kernel.
func (m *Manager) Close() error {
	m.nl.close()
	return nil
}

// lock serialises the operations on one link.
func (m *Manager) lock(name string) (unlock func()) {
	m.mu.Lock()
	l := m.locks[name]
	if l == nil {
		l = new(sync.Mutex)
		m.locks[name] = l
	}
	m.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// write is the only way to change the kernel by netlink: it names the step to
// the hook before, and in the error after.
func (m *Manager) write(ctx context.Context, step, detail string, typ, flags int, parts ...nl.NetlinkRequestData) error {
	return m.writeTo(ctx, m.nl, step, detail, typ, flags, parts...)
}

func (m *Manager) writeTo(ctx context.Context, c *conn, step, detail string, typ, flags int, parts ...nl.NetlinkRequestData) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", step, detail, err)
	}
	m.step(step)
	_, err := c.do(typ, flags|unix.NLM_F_ACK, parts...)
	m.log.Debug(step, "what", detail, "error", err)
	return refused(step+" "+detail, err)
}

// refused wraps an error of the kernel, and tells lack of privilege apart.
func refused(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w (%w)", what, ErrPermission, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// attributes iterates over the attributes in b. Malformed trailing bytes end
// the iteration: b comes from the kernel.
func attributes(b []byte) func(yield func(typ uint16, val []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min((n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
		}
	}
}

// u32 reads a number of the host's byte order, 0 if b is too short.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// cstring reads a string that ends with a zero byte.
func cstring(b []byte) string { return unix.ByteSliceToString(b) }

// payload is raw bytes as part of a request.
type payload []byte

func (p payload) Len() int          { return len(p) }
func (p payload) Serialize() []byte { return p }

// gone reports whether err says that the object does not exist (any more).
func gone(err error) bool {
	for _, e := range []syscall.Errno{unix.ENODEV, unix.ENXIO, unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
