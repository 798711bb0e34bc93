package keepalived

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/rundir"
)

// gapLimit is how long keepalived may have its FIFO closed before nobody believes
// any more that it will open it again: it does so in each reload, in which it does
// nothing else, no adverts included. One that takes longer has lost the role.
const gapLimit = 10 * time.Second

// ErrNoWriter tells that keepalived does not use its FIFO any more.
var ErrNoWriter = errors.New("keepalived has closed it")

// StandIn reads keepalived's FIFO in place of a reader that has ended, as ReadFIFO
// does, through any number of reloads, until ctx ends or the FIFO cannot be read.
// While another process reads it, it waits for the end of that one.
//
// What keepalived has written stays in the FIFO until somebody reads it, so that
// nothing is lost however late the next reader is. Once ctx has ended no line is
// left half read. It also ends when alive says that this keepalived has ended.
func StandIn(ctx context.Context, path string, alive func() bool, take func(Notice), bad func(error)) error {
	s := standIn{path: path, alive: alive, take: take, bad: bad, connected: time.Now()}
	for ctx.Err() == nil && alive() {
		open, err := s.once(ctx)
		if err != nil {
			return err
		}
		if !open && ctx.Err() == nil && time.Since(s.connected) >= gapLimit {
			return fmt.Errorf("%s: %w", path, ErrNoWriter)
		}
	}
	return nil
}

type standIn struct {
	path      string
	alive     func() bool
	take      func(Notice)
	bad       func(error)
	connected time.Time // when keepalived was known last to have it open
}

// once reads the FIFO until keepalived has closed it; or, if it is closed, waits
// until something happens to it. open: keepalived had it open.
func (s *standIn) once(ctx context.Context) (open bool, err error) {
	f, err := s.open(ctx)
	if err != nil || ctx.Err() != nil {
		return false, err
	}
	defer f.Close() // nil is none
	if open, err = s.read(ctx, f); open || err != nil {
		return open, err
	}
	// It may be made anew, or be opened as it is. It is watched no longer than it is
	// closed, since much else may happen in its directory, and from after our own
	// opening on, which would count.
	watch, err := rundir.WatchOpened(filepath.Dir(s.path), filepath.Base(s.path))
	if err != nil {
		return false, err
	}
	defer watch.Close()
	// What has happened before is not seen there.
	if !s.same(f) {
		return false, nil
	}
	if open, err = s.read(ctx, f); open || err != nil {
		return open, err
	}
	ctx, cancel := context.WithTimeout(ctx, max(0, gapLimit-time.Since(s.connected)))
	defer cancel()
	if err := watch.Wait(ctx); err != nil && ctx.Err() == nil {
		return false, err
	}
	return false, nil
}

// open opens and locks the FIFO: nil if there is none, or ctx has ended.
func (s *standIn) open(ctx context.Context) (*os.File, error) {
	f, err := openFIFO(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err = rundir.AcquireFile(ctx, f)
	switch {
	case ctx.Err() != nil:
		_ = f.Close()
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", s.path, err)
	}
	s.connected = time.Now() // or another process has read it until now
	return f, nil
}

func (s *standIn) read(ctx context.Context, f *os.File) (open bool, err error) {
	if f == nil {
		return false, nil
	}
	if open, err = readFIFO(ctx, f, s.alive, s.take, s.bad); open {
		s.connected = time.Now()
	}
	return open, err
}

// same reports whether f is what the path leads to, nil: nothing.
func (s *standIn) same(f *os.File) bool {
	now, err := os.Lstat(s.path)
	if f == nil || err != nil {
		return f == nil && errors.Is(err, fs.ErrNotExist)
	}
	was, err := f.Stat()
	return err == nil && os.SameFile(was, now)
}

// openFIFO opens the FIFO whether or not anybody writes to it.
func openFIFO(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		err = fmt.Errorf("%s is not a FIFO but %v", path, info.Mode().Type())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	makeRoom(f)
	return f, nil
}

// readFIFO reads lines until nobody has the FIFO open for writing, keepalived has
// ended, or ctx ends. open: somebody had it open.
func readFIFO(ctx context.Context, f *os.File, alive func() bool, take func(Notice), bad func(error)) (open bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := lineReader{take: take, bad: bad}
	var buf [maxNotice]byte
	for {
		var n int
		var rerr error
		ended := false
		// A pipe that is empty gives EAGAIN while somebody has it open for writing, and
		// its end otherwise.
		err := raw.Read(func(fd uintptr) (done bool) {
			if ended = !alive(); ended {
				return true // the line is for another one's reader
			}
			n, rerr = unix.Read(int(fd), buf[:])
			open = open || n > 0 || errors.Is(rerr, unix.EAGAIN)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		switch {
		case err != nil: // ctx has ended
			lines.finish(raw)
			return open, nil
		case ended || rerr == nil && n == 0:
			return open, nil
		case errors.Is(rerr, unix.EINTR):
		case rerr != nil:
			return open, fmt.Errorf("read %s: %w", f.Name(), rerr)
		default:
			lines.add(buf[:n])
		}
	}
}

// lineReader puts lines together.
type lineReader struct {
	take    func(Notice)
	bad     func(error)
	pending []byte
	long    bool // the rest of a line is left out
}

func (l *lineReader) add(b []byte) {
	l.pending = append(l.pending, b...)
	for {
		line, rest, whole := bytes.Cut(l.pending, []byte("\n"))
		if !whole {
			break
		}
		if !l.long {
			deliver(line, l.take, l.bad)
		}
		l.pending, l.long = rest, false
	}
	if len(l.pending) >= maxNotice && !l.long {
		l.bad(fmt.Errorf("line is too long: %.80q", l.pending))
		l.long = true
	}
	if l.long {
		l.pending = nil
	}
}

// finish reads the rest of a line: keepalived writes a line at once, so it is there.
func (l *lineReader) finish(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		for len(l.pending) > 0 || l.long {
			if n, err := unix.Read(int(fd), b[:]); n != 1 || err != nil {
				return
			}
			l.add(b[:])
		}
	})
}
