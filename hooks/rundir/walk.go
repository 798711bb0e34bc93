package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// othersWrite are the permissions of a directory or file with which others than
// its owner can change it. The group counts as others, as in OpenSSH.
const othersWrite = 0o022

// maxLinks is as many symbolic links as the kernel follows in a path.
const maxLinks = 40

// open returns a descriptor (O_PATH) of the verified directory.
func (d Dir) open() (int, error) { return d.walk(false) }

// Verify tells whether the directory, if there is one, is safe to use.
func (d Dir) Verify() error {
	fd, err := d.open()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Make makes the directory and missing parents, with mode 0755 whatever the umask
// is: keepalived's hooks have 0177. What exists keeps its mode, but for a
// directory that its owner cannot enter, which only a umask makes.
func (d Dir) Make() error {
	fd, err := d.walk(true)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	return unix.Close(fd)
}

// walk goes from the root to the directory, one component after the other, and
// verifies each. A component that is open cannot be replaced meanwhile: the next one
// is looked up in the descriptor of the last.
func (d Dir) walk(create bool) (int, error) {
	at, err := openRoot()
	if err != nil {
		return -1, err
	}
	seen, links := "/", 0
	rest := components(d.path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		here := filepath.Join(seen, name)
		child, st, err := enter(at, name, create)
		if err != nil {
			_ = unix.Close(at)
			return -1, &fs.PathError{Op: "open", Path: here, Err: err}
		}
		target, err := verify(child, st, here, len(rest) == 0)
		if err == nil && target != "" {
			if links++; links > maxLinks {
				err = &fs.PathError{Op: "open", Path: here, Err: unix.ELOOP}
			}
		}
		if err != nil {
			_, _ = unix.Close(child), unix.Close(at)
			return -1, err
		}
		if target == "" {
			_ = unix.Close(at)
			at, seen = child, here
			continue
		}
		_ = unix.Close(child)
		rest = append(components(target), rest...)
		if filepath.IsAbs(target) {
			_ = unix.Close(at)
			if at, err = openRoot(); err != nil {
				return -1, err
			}
			seen = "/"
		}
	}
	return at, nil
}

// components are the names in a path. ".." stays: the kernel knows what is above
// a directory, the text of a path with symbolic links does not.
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

func openRoot() (int, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	return fd, nil
}

// enter opens name in the directory at, and makes it first if it is missing and
// that is wanted.
func enter(at int, name string, create bool) (fd int, st unix.Stat_t, err error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = unix.Openat(at, name, flags, 0)
	made := false
	if create && errors.Is(err, unix.ENOENT) {
		err = unix.Mkdirat(at, name, 0o755)
		made = err == nil
		if err == nil || errors.Is(err, unix.EEXIST) { // another hook was faster
			fd, err = unix.Openat(at, name, flags, 0)
		}
	}
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, st, err
	}
	barred := st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid() && st.Mode&0o100 == 0
	if made || create && barred {
		// Not fchmod(2), which refuses such a descriptor.
		if err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o755); err == nil {
			err = unix.Fstat(fd, &st)
		}
		if err != nil {
			_ = unix.Close(fd)
			return -1, st, fmt.Errorf("set mode 0755: %w", err)
		}
	}
	return fd, st, nil
}

// verify tells whether a component is safe, and returns where it leads if it is a
// symbolic link.
func verify(fd int, st unix.Stat_t, path string, last bool) (target string, err error) {
	if !trusted(st.Uid) {
		return "", &UnsafeError{path, fmt.Sprintf("belongs to uid %d", st.Uid)}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		var buf [unix.PathMax]byte
		n, err := unix.Readlinkat(fd, "", buf[:])
		if err != nil {
			return "", &fs.PathError{Op: "readlink", Path: path, Err: err}
		}
		return string(buf[:n]), nil
	case unix.S_IFDIR:
	default:
		return "", &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	// In a sticky directory others can make files, but not replace root's: good
	// enough for a parent, not for the directory itself.
	if st.Mode&othersWrite != 0 && (last || st.Mode&unix.S_ISVTX == 0) {
		return "", &UnsafeError{path, fmt.Sprintf("is writable by others (mode %04o)", st.Mode&0o7777)}
	}
	return "", nil
}

// trusted reports whether what belongs to uid is root's or our own.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }
