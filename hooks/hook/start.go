package hook

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// Starter starts a keeper where none runs.
type Starter struct {
	RunDir rundir.Dir
	Args   []string // the keeper's command line after the program's name
	// Installed says that the keeper runs with the settings of the installed
	// service, so that the service may be started instead of a keeper of our own.
	Installed bool
}

// initScript is where OpenWrt's package installs its service.
const initScript = "/etc/init.d/wanfail"

// startLimit bounds how long a hook waits for another that starts the keeper.
const startLimit = 10 * time.Second

// Dial connects to the keeper and starts one first if none listens. Any number
// of processes may call it at once; one of them starts it.
func (s Starter) Dial(ctx context.Context) (*control.Conn, error) {
	conn, err := control.Dial(ctx, s.RunDir)
	if !errors.Is(err, control.ErrNoKeeper) {
		return conn, err
	}
	unlock, err := s.RunDir.StartLock().AcquireWithin(ctx, startLimit)
	if err != nil {
		return nil, fmt.Errorf("wait for another hook that starts the keeper: %w", err)
	}
	defer unlock()
	if conn, err = control.Dial(ctx, s.RunDir); !errors.Is(err, control.ErrNoKeeper) {
		return conn, err
	}
	// Watch first, start then: the socket cannot appear unseen.
	watch, err := rundir.WatchDir(s.RunDir.String(), rundir.SocketFile)
	if err != nil {
		return nil, err
	}
	defer watch.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.start(ctx, cancel); err != nil {
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	for {
		conn, err := control.Dial(ctx, s.RunDir)
		if !errors.Is(err, control.ErrNoKeeper) {
			return conn, err
		}
		if err := watch.Wait(ctx); err != nil {
			return nil, fmt.Errorf("a keeper was started but does not listen on %s (its log says why): %w",
				s.RunDir.Path(rundir.SocketFile), err)
		}
	}
}

// start uses what the platform supervises, and a detached child where nothing
// does; ended is called if that child ends while somebody waits for it.
func (s Starter) start(ctx context.Context, ended func(error)) error {
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
	// What our caller left open, as the lock of a shell script, must not stay open
	// for as long as the keeper runs. Linux before 5.11 lacks the call.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	// Not CommandContext: the keeper outlives the hook. A session of its own
	// keeps it out of the process group that keepalived kills.
	cmd := exec.Command(exe, s.Args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := atNormalPriority(cmd.Start); err != nil {
		return err
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			ended(fmt.Errorf("it ended: %w", err))
		}
		// Without an error it has found another keeper: that one's socket is waited for.
	}()
	return nil
}
