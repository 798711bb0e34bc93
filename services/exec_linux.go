package services

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// termGrace is how long a script that must end may take to clean up.
	termGrace = 100 * time.Millisecond
	// killWait is how long a killed script may take to disappear. Only one that
	// hangs in the kernel takes longer.
	killWait = time.Second
	// maxOutput is the size of the file that takes a script's output, shownOutput
	// how much of its end an error shows.
	maxOutput   = 64 << 10
	shownOutput = 300
)

// run runs an init script to its end and returns what it printed. When ctx ends,
// the script and what it started in its process group are killed.
//
// Not exec.CommandContext: that kills the script alone, and leaves the sleep or
// the ubus call in which it hangs.
func run(ctx context.Context, path, verb string) (output string, err error) {
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s %s: %w", path, verb, context.Cause(ctx))
	}
	cmd := exec.Command(path, verb)
	cmd.Dir = "/"
	// Nothing of our own environment: a keeper that a hook started has keepalived's
	// ACTION, TYPE and NAME in it, which mean something else to init scripts.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=dumb", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := outputFile()
	if err == nil {
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("run %s %s: %w", path, verb, err)
	}
	ended := make(chan struct{}) // the process has ended; it is not yet reaped
	reap := make(chan struct{})
	reaped := make(chan error, 1)
	go func() {
		awaitExit(cmd.Process.Pid)
		close(ended)
		<-reap
		reaped <- cmd.Wait()
	}()
	killed := false
	select {
	case <-ended:
	case <-ctx.Done():
		killed = true
		killGroup(cmd.Process.Pid, ended)
	}
	close(reap)
	if killed {
		return "", fmt.Errorf("%s %s: %w; it was killed%s", path, verb, context.Cause(ctx), quoteOutput(readOutput(out)))
	}
	if err := <-reaped; err != nil {
		return readOutput(out), fmt.Errorf("%s %s: %w", path, verb, err)
	}
	return readOutput(out), nil
}

// awaitExit waits for a child's end without reaping it, so that until then its
// process id, and the group's, cannot come to mean anything else.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killGroup ends a process group whose leader has not been reaped.
func killGroup(pid int, ended <-chan struct{}) {
	_ = unix.Kill(-pid, unix.SIGTERM)
	select {
	case <-ended:
	case <-time.After(termGrace):
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	select {
	case <-ended:
	case <-time.After(killWait):
	}
}

// outputFile makes the file that takes a script's output. It is neither a pipe,
// which a daemon that keeps it open would hold open for ever, or be killed by
// (SIGPIPE) once we have closed our end; nor may it grow: a daemon that goes on
// writing to it gets EPERM and takes no memory.
func outputFile() (*os.File, error) {
	const name = "init-script-output"
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("create file for output: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err = f.Truncate(maxOutput); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("limit file for output: %w", err)
	}
	return f, nil
}

// readOutput returns the end of what was written. The file's offset, which the
// script shared with us, tells how much that is.
func readOutput(f *os.File) string {
	if f == nil {
		return ""
	}
	end, err := f.Seek(0, 1)
	if err != nil {
		return ""
	}
	buf := make([]byte, min(end, shownOutput))
	n, _ := f.ReadAt(buf, end-int64(len(buf)))
	return strings.TrimSpace(strings.ToValidUTF8(string(buf[:n]), "?"))
}

// quoteOutput makes output fit for the end of an error message.
func quoteOutput(out string) string {
	if out == "" {
		return ""
	}
	return ": it said " + strconv.Quote(out)
}

// closeOnExec marks all open files but stdio.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11.
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range fds {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
