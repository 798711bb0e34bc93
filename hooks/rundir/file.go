package rundir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// File is one file of a run directory, read and replaced as a whole.
type File struct {
	dir  Dir
	name string
	mode fs.FileMode
}

// String returns the path.
func (f File) String() string { return f.dir.Path(f.name) }

// Read returns the content. The error is fs.ErrNotExist where there is no file,
// or no directory; what is no regular file, longer than limit, or could have been
// written by another user is refused.
func (f File) Read(limit int) ([]byte, error) {
	// O_NONBLOCK: to open a FIFO must not wait for its other end.
	file, err := f.dir.openFile(f.name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", f, limit)
	}
	return b, nil
}

// Write replaces the file atomically: a reader sees the old or the new content,
// and a full or failing file system leaves the old one. The mode is the file's,
// whatever the umask is. There is no fsync: a power failure ends the boot, and
// with it what the file is worth.
//
// Only one process at a time may write a file, so one name for the unfinished one
// is enough, and what a killed writer left behind is removed by the next.
func (f File) Write(data []byte) (err error) {
	dir, err := f.dir.open()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := valid(f.name); err != nil {
		return err
	}
	unfinished := f.name + ".new"
	file, err := create(dir, unfinished, f.dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(dir, unfinished, 0)
		}
	}()
	_, err = file.Write(data)
	if err = errors.Join(err, file.Chmod(f.mode), file.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(dir, unfinished, dir, f.name); err != nil {
		return &fs.PathError{Op: "replace", Path: f.String(), Err: err}
	}
	return nil
}

// create makes a file that did not exist, so that nothing is written through a link
// or file that another process has put there.
func create(dir int, name string, of Dir) (*os.File, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			fd, err = unix.Openat(dir, name, flags, 0o600)
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: of.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), of.Path(name)), nil
}

// Remove removes the file, if there is one.
func (f File) Remove() error {
	dir, err := f.dir.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := valid(f.name); err != nil {
		return err
	}
	if err := unix.Unlinkat(dir, f.name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: f.String(), Err: err}
	}
	return nil
}

// Tidy removes what an unfinished Write has left, of a writer that was killed.
func (f File) Tidy() {
	dir, err := f.dir.open()
	if err != nil || valid(f.name) != nil {
		return
	}
	defer unix.Close(dir)
	_ = unix.Unlinkat(dir, f.name+".new", 0)
}

// Lock is a file of a run directory for flock(2).
type Lock struct {
	dir  Dir
	name string
}

// String returns the path.
func (l Lock) String() string { return l.dir.Path(l.name) }

// Open opens the file, and makes it if need be.
func (l Lock) Open() (*os.File, error) {
	return l.dir.openFile(l.name, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK, 0o600)
}

// openFile opens a regular file of ours.
func (d Dir) openFile(name string, flags int, mode uint32) (*os.File, error) {
	dir, err := d.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	if err := valid(name); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.ELOOP) {
		return nil, &UnsafeError{d.Path(name), "is a symbolic link"}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: err}
	}
	file := os.NewFile(uintptr(fd), d.Path(name))
	if err := ours(fd, d.Path(name)); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// ours tells whether a file is a regular one that nobody else can write. Another
// user's may be in a directory of ours that was that user's before.
func ours(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is no regular file: remove it", path)
	case !trusted(st.Uid):
		return &UnsafeError{path, fmt.Sprintf("belongs to uid %d", st.Uid)}
	case st.Mode&othersWrite != 0:
		return &UnsafeError{path, fmt.Sprintf("is writable by others (mode %04o)", st.Mode&0o7777)}
	}
	return nil
}

// valid refuses what is not the name of a file in a directory.
func valid(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is no file of the run directory", name)
	}
	return nil
}
