// Package command runs the programs of the platform and of the user. They may
// hang, fork daemons and print without end.
package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
	// termGrace is how long a program that must end may take to clean up.
	termGrace = 100 * time.Millisecond
	// killWait is how long a killed program may take to disappear. Only one that
	// hangs in the kernel takes longer.
	killWait = time.Second
	// maxOutput is how much a program may print unless it is given more, shownOutput
	// how much of its end an error shows.
	maxOutput   = 64 << 10
	shownOutput = 300
)

// Command is a program to run.
type Command struct {
	Path   string // absolute
	Args   []string
	Stdin  string
	Env    []string // the whole environment; nil: little more than a PATH
	Nice   int      // its priority, nice(1), whatever the caller's is
	Output int      // how many bytes it may print; 0: 64 KB
}

// environment is that of programs which are given none. Nothing of our own is in
// it: a keeper that a hook started has keepalived's ACTION, TYPE and NAME, which
// mean something else to init scripts.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=dumb", "LC_ALL=C"}

func (c Command) String() string { return strings.Join(append([]string{c.Path}, c.Args...), " ") }

// Run runs the program to its end, in /, and returns what it printed. An exit code
// other than 0 is an *exec.ExitError. When ctx ends, the program and what it
// started in its process group are killed; what has left that group, as a daemon
// does, lives.
//
// Not exec.CommandContext: that kills the program alone, and leaves the sleep or
// the ubus call in which a script hangs.
func (c Command) Run(ctx context.Context) (output string, err error) {
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", c, context.Cause(ctx))
	}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = "/"
	if cmd.Env = c.Env; c.Env == nil {
		cmd.Env = environment
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := outputFile(cmp.Or(c.Output, maxOutput))
	if err == nil {
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	if c.Stdin != "" {
		in, err := inputFile(c.Stdin)
		if err != nil {
			return "", fmt.Errorf("run %s: %w", c, err)
		}
		defer in.Close()
		cmd.Stdin = in
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("run %s: %w", c, err)
	}
	// The keeper has a high priority, which the daemons that a script starts must not
	// inherit.
	_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, c.Nice)
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
		said := readOutput(out)
		return said, fmt.Errorf("%s: %w; it was killed%s", c, context.Cause(ctx), Quote(said))
	}
	if err := <-reaped; err != nil {
		return readOutput(out), fmt.Errorf("%s: %w", c, err)
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

// outputFile makes the file that takes a program's output. It is neither a pipe,
// which a daemon that keeps it open would hold open for ever, or be killed by
// (SIGPIPE) once we have closed our end; nor may it grow: a daemon that goes on
// writing to it gets EPERM and takes no memory.
func outputFile(size int) (*os.File, error) {
	f, err := memfd("output")
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(int64(size)); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("limit file for output: %w", err)
	}
	return f, nil
}

// inputFile makes a file to read text from: a program that does not read it
// delays nothing.
func inputFile(text string) (*os.File, error) {
	f, err := memfd("input")
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteString(text); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write file for input: %w", err)
	}
	return f, nil
}

// memfd makes a file that exists in memory only.
func memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("create file for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readOutput returns what was written. The file's offset, which the program shared
// with us, tells how much that is.
func readOutput(f *os.File) string {
	if f == nil {
		return ""
	}
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return ""
	}
	buf := make([]byte, end)
	n, _ := f.ReadAt(buf, 0)
	return strings.TrimSpace(strings.ToValidUTF8(string(buf[:n]), "?"))
}

// Quote makes the end of an output fit for the end of an error message.
func Quote(out string) string {
	if out == "" {
		return ""
	}
	if len(out) > shownOutput {
		out = strings.ToValidUTF8(out[len(out)-shownOutput:], "")
	}
	return ": it said " + strconv.Quote(out)
}

// CloseOnExec marks all open files but stdio, so that no program that is run
// inherits what whoever started us has left open.
func CloseOnExec() error {
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
