package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Part is one component of a path.
type Part struct {
	Path     string
	UID, GID uint32
	// Mode are the permission bits, less those that let nobody but root change what
	// is there: the group's if that is root's, and all others' of a sticky directory.
	Mode uint32
}

// Changeable reports whether somebody else than root can change what is there, as
// keepalived's script security has it.
func (p Part) Changeable() bool { return p.UID != 0 || p.Mode&0o022 != 0 }

func part(at string, st *unix.Stat_t) Part {
	p := Part{Path: at, UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o777}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK: // its mode means nothing
		p.Mode = 0
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0:
		p.Mode &^= 0o022 // others cannot replace what is not theirs
	case p.GID == 0:
		p.Mode &^= 0o020
	}
	return p
}

// Parts are the components of a path, / first, without the symbolic links in it;
// none if it is not there.
func (t Tree) Parts(name string) (parts []Part) {
	if !path.IsAbs(name) {
		return nil
	}
	root, err := filepath.EvalSymlinks(t.Root)
	if err != nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return nil
	}
	rel, err := filepath.Rel(root, real)
	if err != nil {
		return nil
	}
	at := ""
	for _, next := range append([]string{"."}, strings.Split(rel, "/")...) {
		at = path.Join("/", at, next)
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root, at), &st); err != nil {
			return nil
		}
		parts = append(parts, part(at, &st))
	}
	return parts
}

// Owned is an error unless nobody but root can change a file, or replace it. It
// may be behind a link of root's.
func (t Tree) Owned(name string) error {
	f, err := t.openOwned(name, true)
	if err != nil {
		return err
	}
	return f.Close()
}

// maxSteps bounds the components of a path with all links followed.
const maxSteps = 256

// OpenOwned opens for reading a regular file that nobody but root can change or
// replace: each directory and each link on the way is root's and not writable by
// others, unless sticky. Each is opened relative to the one before and looked at
// when it is open, so that nothing can be exchanged in between. The file itself
// must not be a link, neither symbolic nor a second name of another file.
func (t Tree) OpenOwned(name string) (*os.File, error) { return t.openOwned(name, false) }

func (t Tree) openOwned(name string, follow bool) (*os.File, error) {
	fail := func(at string, err error) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	root, err := unix.Open(t.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(t.Root, err)
	}
	dir, at := root, "/"
	defer func() {
		if dir != root {
			_ = unix.Close(dir)
		}
		_ = unix.Close(root)
	}()
	todo := split(name)
	if t.Root == "/" { // that of a test belongs to whoever runs it
		todo = append([]string{"."}, todo...)
	}
	for steps := 0; len(todo) > 0; steps++ {
		if steps == maxSteps {
			return fail(name, unix.ELOOP)
		}
		next := todo[0]
		todo = todo[1:]
		here := path.Join(at, next)
		var st unix.Stat_t
		if err := unix.Fstatat(dir, next, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fail(here, err)
		}
		if err := changeable(here, &st); err != nil {
			return fail(name, err)
		}
		kind := st.Mode & unix.S_IFMT
		switch {
		case len(todo) == 0 && kind == unix.S_IFREG && st.Nlink == 1:
			return openLast(dir, next, here, &st)
		case len(todo) == 0 && kind == unix.S_IFREG:
			return fail(name, errors.New("has a second name (a hard link)"))
		case len(todo) == 0 && kind == unix.S_IFLNK && !follow:
			return fail(name, errors.New("is a symbolic link"))
		case len(todo) == 0 && kind != unix.S_IFLNK:
			return fail(name, ErrNotRegular)
		case kind == unix.S_IFLNK:
			to, err := readlink(dir, next)
			if err != nil {
				return fail(here, err)
			}
			todo = append(split(to), todo...)
			if path.IsAbs(to) {
				if dir != root {
					_ = unix.Close(dir)
				}
				dir, at = root, "/"
			}
			continue
		}
		fd, err := unix.Openat(dir, next, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail(here, err)
		}
		if dir != root {
			_ = unix.Close(dir)
		}
		dir, at = fd, here
		if err := unix.Fstat(fd, &st); err != nil {
			return fail(here, err)
		}
		if err := changeable(here, &st); err != nil {
			return fail(name, err)
		}
	}
	return fail(name, ErrNotRegular)
}

// openLast opens the file and checks that it is the one that was looked at.
func openLast(dir int, base, name string, seen *unix.Stat_t) (*os.File, error) {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Dev != seen.Dev || st.Ino != seen.Ino) {
		err = errors.New("was replaced meanwhile")
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func changeable(at string, st *unix.Stat_t) error {
	switch p := part(at, st); {
	case p.UID != 0:
		return fmt.Errorf("%s belongs to uid %d, not to root", at, p.UID)
	case p.Changeable():
		return fmt.Errorf("%s may be written by others than root (mode %04o)", at, st.Mode&0o7777)
	}
	return nil
}

func readlink(dir int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err == nil && n == len(b) {
		err = syscall.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// split are the components of a path; .. stays, since it means something else
// behind a link.
func split(name string) (all []string) {
	for _, p := range strings.Split(name, "/") {
		if p != "" && p != "." {
			all = append(all, p)
		}
	}
	return all
}
