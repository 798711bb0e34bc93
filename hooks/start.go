package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Starter starts a keeper where none runs.
type Starter struct {
	RunDir string
	Args   []string // the keeper's command line after the program's name
	// Installed says that the keeper runs with the settings of the installed
	// service, so that the service may stand in for a keeper of our own.
	Installed bool
}

// initScript is where OpenWrt's package installs its service.
const initScript = "/etc/init.d/wanfail"

// startLimit bounds how long a hook waits for another that starts the keeper.
const startLimit = 10 * time.Second

// Dial connects to the keeper and starts one first if none listens. Any number
// of processes may call it at once; one of them starts it.
func (s Starter) Dial(ctx context.Context) (*Conn, error) {
	conn, err := Dial(ctx, s.RunDir)
	if !errors.Is(err, ErrNoKeeper) {
		return conn, err
	}
	unlock, err := LockWithin(ctx, filepath.Join(s.RunDir, "start.lock"), startLimit)
	if err != nil {
		return nil, fmt.Errorf("wait for another hook that starts the keeper: %w", err)
	}
	defer unlock()
	if conn, err = Dial(ctx, s.RunDir); !errors.Is(err, ErrNoKeeper) {
		return conn, err
	}
	// Watch first, start then: the socket cannot appear unseen.
	watch, err := WatchDir(s.RunDir)
	if err != nil {
		return nil, err
	}
	defer watch.Close()
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	for {
		conn, err := Dial(ctx, s.RunDir)
		if !errors.Is(err, ErrNoKeeper) {
			return conn, err
		}
		if err := watch.Wait(ctx); err != nil {
			return nil, fmt.Errorf("a keeper was started but does not listen on %s (its log says why): %w",
				filepath.Join(s.RunDir, SocketFile), err)
		}
	}
}

// start uses what the platform supervises, and a detached child where nothing
// does.
func (s Starter) start(ctx context.Context) error {
	started, err := s.startUnit(ctx)
	if started || err != nil {
		return err
	}
	if info, err := os.Stat(initScript); s.Installed && err == nil && info.Mode()&0o111 != 0 {
		out, err := exec.CommandContext(ctx, initScript, "start").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s start: %w: %.200s", initScript, err, out)
		}
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	// Not CommandContext: the keeper outlives the hook. A session of its own
	// keeps it out of the process group that keepalived kills.
	cmd := exec.Command(exe, s.Args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// DirWatch tells when something in a directory was created or replaced.
type DirWatch struct {
	f   *os.File
	buf [4096]byte
}

// WatchDir starts to watch dir (inotify(7)).
func WatchDir(dir string) (*DirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_DELETE); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &DirWatch{f: os.NewFile(uintptr(fd), "inotify")}, nil
}

// Wait returns after the next change, or several at once, or with an error when
// ctx ends or the watch is closed.
func (w *DirWatch) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.f.Close() })
	defer stop()
	_, err := w.f.Read(w.buf[:])
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Close ends the watch.
func (w *DirWatch) Close() error { return w.f.Close() }
