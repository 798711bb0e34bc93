package drill

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/files"
)

// Tracked are the track_files that a drill writes, locked against another drill.
//
// A drill is root's, and the path comes from a configuration. So each file must be
// one that nobody but root can change or replace, and what is written goes to the
// file that was opened and locked, whatever has its name by then.
type Tracked struct{ files []*os.File }

// Lock locks the files. It refuses one that is not keepalived's, and what a drill
// that was killed has left.
func Lock(t files.Tree, names []string) (*Tracked, error) {
	l := &Tracked{}
	for _, name := range names {
		f, err := lock(t, name)
		if err != nil {
			l.Close()
			return nil, err
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

func lock(t files.Tree, name string) (*os.File, error) {
	f, err := t.OpenOwned(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: keepalived makes it when it starts or reloads (init_file)", name)
	case err != nil:
		return nil, fmt.Errorf("the track_file must be root's alone, in directories that are, as in /run: %w", err)
	}
	if err := take(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// take locks a file and looks whether a drill can begin with it.
func take(f *os.File) error {
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("another drill runs: it has locked %s", f.Name())
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err := unix.Access(descriptor(f), unix.W_OK); err != nil {
		return &fs.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	text := make([]byte, 64)
	n, _ := f.Read(text)
	value := strings.TrimSpace(string(text[:n]))
	if value == "" {
		return nil
	}
	switch number, err := strconv.Atoi(value); {
	case err != nil:
		return fmt.Errorf("%s holds no number: is it the track_file of keepalived?", f.Name())
	case number != 0:
		return fmt.Errorf("%s holds %d, and no drill runs: one was killed. Put the priority back, and begin anew: echo 0 >%s", f.Name(), number, files.Quote(f.Name()))
	}
	return nil
}

// descriptor is a name for the file that is open, not for what has its path now.
func descriptor(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// Write writes a number to all files.
func (l *Tracked) Write(n int) (err error) {
	for _, f := range l.files {
		if e := overwrite(f, fmt.Sprintln(n)); e != nil {
			err = errors.Join(err, &fs.PathError{Op: "write", Path: f.Name(), Err: e})
		}
	}
	return err
}

// overwrite replaces the content in place, which needs no room on a full disk; a
// number ends at the line's end, so what is left of a longer one in between does
// no harm. keepalived reads the file when somebody who has written it closes it:
// hence a second opening, of the same file.
func overwrite(f *os.File, text string) error {
	fd, err := unix.Open(descriptor(f), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for rest := []byte(text); len(rest) > 0 && err == nil; {
		var n int
		if n, err = unix.Write(fd, rest); errors.Is(err, syscall.EINTR) {
			err = nil
		} else if err == nil {
			rest = rest[n:]
		}
	}
	if err == nil {
		err = unix.Ftruncate(fd, int64(len(text)))
	}
	return errors.Join(err, unix.Close(fd))
}

// Names are those of the files, for the shell.
func (l *Tracked) Names() (all []string) {
	for _, f := range l.files {
		all = append(all, files.Quote(f.Name()))
	}
	return all
}

// Close unlocks them.
func (l *Tracked) Close() {
	for _, f := range l.files {
		_ = f.Close()
	}
}
