package rundir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNobodyListens tells that there is no socket, or that the process that made
// it has ended.
var ErrNobodyListens = errors.New("nobody listens on the socket")

// Listen binds the keeper's socket in place of one that an earlier keeper left.
// The caller holds the KeeperLock. From the first moment only the owner can connect.
func (d Dir) Listen() (*net.UnixListener, error) {
	dir, err := d.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	if err := unix.Unlinkat(dir, SocketFile, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove stale socket: %w", &fs.PathError{Op: "remove", Path: d.Path(SocketFile), Err: err})
	}
	// bind(2) gives the file the mode of the socket's own inode, less the umask
	// (net/unix/af_unix.c). So it is set before; the umask belongs to all threads.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return unix.Fchmod(fd, 0o600) })
	}}
	l, err := config.Listen(context.Background(), "unix", d.Path(SocketFile))
	if err != nil {
		return nil, err
	}
	// A umask may have taken away from it what the owner needs.
	if err := unix.Fchmodat(dir, SocketFile, 0o600, 0); err != nil {
		_ = l.Close()
		return nil, &fs.PathError{Op: "chmod", Path: d.Path(SocketFile), Err: err}
	}
	return l.(*net.UnixListener), nil
}

// Listening reports whether the socket is there, whoever may listen on it.
func (d Dir) Listening() (bool, error) {
	dir, err := d.open()
	if err == nil {
		defer unix.Close(dir)
		var st unix.Stat_t
		err = unix.Fstatat(dir, SocketFile, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Dial connects to the keeper; ErrNobodyListens if there is none. A process of
// another user is no keeper.
func (d Dir) Dial(ctx context.Context) (*net.UnixConn, error) {
	if err := d.Verify(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNobodyListens
		}
		return nil, err
	}
	// By its path, which is as safe as the descriptor once it is verified: others
	// can rename none of its components.
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", d.Path(SocketFile))
	switch {
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNobodyListens
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: only root may ask the keeper", err)
	case err != nil:
		return nil, err
	}
	conn := c.(*net.UnixConn)
	if err := Trusted(conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s is no keeper's socket: %w", d.Path(SocketFile), err)
	}
	return conn, nil
}

// Trusted tells whether the process at the other end of a unix socket runs as
// root or as our own user (SO_PEERCRED: as it did when it connected or listened).
func Trusted(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return fmt.Errorf("ask for the peer's user: %w", err)
		}
		if !trusted(peer.Uid) {
			return fmt.Errorf("process %d of uid %d is neither root's nor the keeper's own", peer.Pid, peer.Uid)
		}
		return nil
	})
}

// control runs f with the descriptor of c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}
