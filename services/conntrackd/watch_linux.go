package conntrackd

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// answerLimit is how long the daemon may take to answer a question that changes
// nothing. It answers between the steps of a commit.
const answerLimit = 2 * time.Second

// Watch looks whether the daemon lives and answers, until ctx ends, and calls
// tell with what is wrong when that changes; nil: nothing is. The first call comes
// after the first look. The daemon's tables are left alone.
//
// The end of the daemon is noticed at once, by its process; a daemon that hangs at
// the next look, within half a minute.
func (d *Daemon) Watch(ctx context.Context, tell func(problem error)) {
	d.watch(ctx, (*health).next, tell)
}

func (d *Daemon) watch(ctx context.Context, next func(*health, error) time.Duration, tell func(error)) {
	var h health
	told, first, ended := "", true, 0
	for {
		pid, err := d.look(ctx)
		if ctx.Err() != nil {
			return
		}
		problem := h.look(time.Now(), pid, err)
		text := ""
		if problem != nil {
			text = problem.Error()
		}
		if first || text != told {
			tell(problem)
		}
		told, first = text, false
		wait := next(&h, problem)
		switch {
		case h.down || h.pid == 0 || h.pid == ended:
			// Not there, or not known: the process that opened the socket may have
			// left it to another one.
			ended = 0
			pause(ctx, wait)
		case outlives(ctx, h.pid, wait):
		default:
			ended = h.pid
		}
	}
}

// look asks the daemon for its statistics. pid is the process that answered, 0 if
// it runs in another PID namespace.
func (d *Daemon) look(ctx context.Context) (pid int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer within %v", answerLimit))
	defer cancel()
	c, err := d.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	pid = peer(c)
	_, err = exchange(ctx, c, statsCache)
	return pid, err
}

// peer is the process that listens at the other end (SO_PEERCRED, unix(7)), 0 if
// that cannot be told.
func peer(c net.Conn) (pid int) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// outlives reports whether a process runs for so long, or until ctx ends. Its
// pidfd polls readable when it has ended (pidfd_open(2)).
func outlives(ctx context.Context, pid int, limit time.Duration) bool {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	_ = f.SetReadDeadline(time.Now().Add(limit))
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	return raw.Read(ended) != nil
}

// ended reports whether the process of a pidfd has ended. To wait for the event alone
// would not do: one that came before the wait is not reported again.
func ended(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
