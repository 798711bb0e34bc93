package rundir

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrDirGone tells that a watched directory was removed or moved.
var ErrDirGone = errors.New("directory is gone")

// DirWatch tells when certain files of a directory were created, replaced or
// removed.
type DirWatch struct {
	f     *os.File
	dir   string
	names []string
}

// WatchDir starts to watch the files of the given names in dir (inotify(7)).
func WatchDir(dir string, names ...string) (*DirWatch, error) { return watchDir(dir, 0, names) }

// WatchOpened is WatchDir, and tells when the files were opened, too.
func WatchOpened(dir string, names ...string) (*DirWatch, error) {
	return watchDir(dir, unix.IN_OPEN, names)
}

func watchDir(dir string, more uint32, names []string) (*DirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	mask := more | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ATTRIB | unix.IN_DELETE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &DirWatch{f: os.NewFile(uintptr(fd), "inotify"), dir: dir, names: names}, nil
}

// Wait returns after the next change, or several at once. The error is
// ErrDirGone, or the cause of ctx's end.
func (w *DirWatch) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.f.Close() })
	defer stop()
	var buf [4096]byte
	for {
		n, err := w.f.Read(buf[:])
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("watch %s: %w", w.dir, err)
		}
		relevant, gone := w.scan(buf[:n])
		if gone {
			return fmt.Errorf("watch %s: %w", w.dir, ErrDirGone)
		}
		if relevant {
			return nil
		}
	}
}

// scan reads struct inotify_event: wd, mask, cookie, length of the name, name.
func (w *DirWatch) scan(b []byte) (relevant, gone bool) {
	for len(b) >= unix.SizeofInotifyEvent {
		mask, length := binary.NativeEndian.Uint32(b[4:]), int(binary.NativeEndian.Uint32(b[12:]))
		end := min(unix.SizeofInotifyEvent+length, len(b))
		name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
		b = b[end:]
		switch {
		case mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
			gone = true
		case mask&unix.IN_Q_OVERFLOW != 0 || slices.Contains(w.names, name):
			relevant = true
		}
	}
	return relevant, gone
}

// Close ends the watch.
func (w *DirWatch) Close() error { return w.f.Close() }
