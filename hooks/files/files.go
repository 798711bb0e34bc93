// Package files reads files that others may have written: regular ones only,
// without blocking, and no more than a bound of each.
package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// MaxSize bounds what is read of a file.
const MaxSize = 1 << 20

// MaxNames bounds the results of a pattern.
const MaxNames = 256

// maxGlob bounds the names that a pattern is compared with: the pattern may be
// anybody's.
const maxGlob = 4096

// ErrNotRegular is why a device, a FIFO, a socket or a directory is not read.
var ErrNotRegular = errors.New("not a regular file")

// Tree is a file system. Root "/" is that of this computer; a test has a
// directory of its own. Names are absolute, below Root.
type Tree struct{ Root string }

func (t Tree) path(name string) string { return filepath.Join(t.Root, filepath.FromSlash(name)) }

// Open opens a regular file for reading. A FIFO without a writer would block and
// opening a device may have effects, so the type is looked at first, and again
// when the file is open.
func (t Tree) Open(name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	info, err := os.Stat(t.path(name))
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(t.path(name), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	if info, err = f.Stat(); err == nil {
		err = regular(info)
	}
	if err != nil {
		_ = f.Close()
		return fail(err)
	}
	return f, nil
}

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	return nil
}

// Read is the content of a regular file, which must not be larger than MaxSize.
func (t Tree) Read(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(b) > MaxSize {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("larger than %d bytes", MaxSize)}
	}
	return b, err
}

// Text is the content of a file, empty if there is none.
func (t Tree) Text(name string) string {
	b, _ := t.Read(name)
	return strings.TrimSpace(string(b))
}

// Lines are those of Text.
func (t Tree) Lines(name string) []string { return strings.Split(t.Text(name), "\n") }

// Locked reports whether a process has locked a file by flock(2).
func (t Tree) Locked(name string) bool {
	f, err := t.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// Exists reports whether there is something of this name, be it a link that
// points nowhere.
func (t Tree) Exists(name string) bool {
	_, err := os.Lstat(t.path(name))
	return err == nil
}

// Mentions reports whether a script has text in it. Programs are not searched.
func (t Tree) Mentions(name, text string) bool {
	b, err := t.Read(name)
	return err == nil && bytes.HasPrefix(b, []byte("#!")) && bytes.Contains(b, []byte(text))
}

// Link is where a symbolic link points, empty if it is none.
func (t Tree) Link(name string) string {
	to, _ := os.Readlink(t.path(name))
	return to
}

// Glob expands an absolute pattern, with at most MaxNames results.
func (t Tree) Glob(pattern string) []string {
	if at, end := strings.IndexByte(pattern, '{'), strings.IndexByte(pattern, '}'); at >= 0 && end > at && strings.Count(pattern, "{") <= 2 {
		var all []string
		for _, choice := range strings.SplitN(pattern[at+1:end], ",", 8) {
			all = append(all, t.Glob(pattern[:at]+choice+pattern[end+1:])...)
		}
		return all[:min(len(all), MaxNames)]
	}
	names, budget := []string{"/"}, maxGlob
	for _, part := range strings.Split(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range names {
			if !strings.ContainsAny(part, `*?[\`) {
				if at := path.Join(dir, part); t.Exists(at) {
					next = append(next, at)
				}
				continue
			}
			entries, _ := os.ReadDir(t.path(dir))
			for _, e := range entries {
				if budget--; budget < 0 || len(next) == MaxNames {
					return nil
				}
				hidden := strings.HasPrefix(e.Name(), ".") && part[0] != '.'
				if ok, _ := path.Match(part, e.Name()); ok && !hidden {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		names = next
	}
	return names
}

// Processes are the process ids in /proc, the lowest first.
func (t Tree) Processes() (pids []int) {
	entries, _ := os.ReadDir(t.path("/proc"))
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
