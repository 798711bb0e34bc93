package intent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Process identifies one process: process ids are used again, a pair of id and
// start time is not.
type Process struct {
	PID   int    `json:"pid,omitzero"`
	Start uint64 `json:"start,omitzero"` // clock ticks since boot, field 22 of /proc/PID/stat
}

// stat is what wanfail needs of /proc/PID/stat.
type stat struct {
	comm  string
	ppid  int
	start uint64
}

// readStat reads /proc/PID/stat (proc_pid_stat(5)).
func readStat(pid int) (stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(raw)
}

// parseStat parses the text of /proc/PID/stat. The command name may hold spaces
// and parentheses, so fields are counted from the last closing one.
func parseStat(raw []byte) (stat, error) {
	open, end := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("malformed process status %q", raw)
	}
	fields := bytes.Fields(raw[end+1:]) // field 3 (state) is the first of these
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("process status has %d fields after the name, want at least 20", len(fields))
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, fmt.Errorf("parse parent process id: %w", err)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parse process start time: %w", err)
	}
	return stat{comm: string(raw[open+1 : end]), ppid: ppid, start: start}, nil
}

// Self names this process.
func Self() (Process, error) { return Find(os.Getpid()) }

// Find names the process that has an id now.
func Find(pid int) (Process, error) {
	st, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	return Process{PID: pid, Start: st.start}, nil
}

// Keepalived returns the nearest keepalived among the ancestors of this process:
// once it has exited, the role requests of this process no longer count. It is the
// zero Process when a person runs the command.
func Keepalived() Process {
	keepalived, _ := ancestry()
	return keepalived
}

// ancestry returns the nearest keepalived among the ancestors of this process,
// and its child on the way to this process: this process itself or, behind a shell
// or a hotplug script, the one that keepalived has started for the event.
func ancestry() (keepalived, child Process) {
	// The bound only guards against a /proc that changes while it is read.
	const depth = 16
	pid := os.Getpid()
	for range depth {
		if pid < 1 { // 1 may be keepalived: that of a container
			break
		}
		st, err := readStat(pid)
		if err != nil {
			break
		}
		p := Process{PID: pid, Start: st.start}
		if pid != os.Getpid() && isKeepalived(pid, st.comm) {
			return p, child
		}
		child, pid = p, st.ppid
	}
	return Process{}, Process{}
}

// Orphaned reports whether the keepalived that started this process has exited:
// this process gets a signal when its parent exits (PR_SET_PDEATHSIG), which no
// command that a person types does, but keepalived is no ancestor any more. The
// role request of such a process must not count: nothing would ever revoke it.
func Orphaned() bool { return deathSignal == unix.SIGTERM && Keepalived() == (Process{}) }

// deathSignal is what this process gets when its parent dies. The setting belongs
// to the thread that keepalived forked, the main one, and initialisation alone is
// sure to run there.
var deathSignal = func() unix.Signal {
	var sig int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0); err != nil {
		return 0
	}
	return unix.Signal(sig)
}()

// isKeepalived looks at the executable, since keepalived's process names can be
// configured, and at the name where the executable was replaced by an upgrade.
func isKeepalived(pid int, comm string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err == nil && filepath.Base(exe) == "keepalived" {
		return true
	}
	return comm == "keepalived"
}

// ErrGone tells that a process has ended, or that its id belongs to another one
// by now.
var ErrGone = errors.New("process is gone")

// Open returns a pidfd of p, which polls readable once p has ended
// (pidfd_open(2)), or ErrGone. The caller closes it. Needs Linux 5.10.
func (p Process) Open() (int, error) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return -1, ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	// Only now does the id belong to whatever fd holds: compare start times after.
	st, err := readStat(p.PID)
	if err != nil || st.start != p.Start {
		_ = unix.Close(fd)
		return -1, ErrGone
	}
	return fd, nil
}

// Ended reports whether the process of a pidfd has ended, for a loop that waits until
// it is readable. To wait for that event alone would not do: one that came before the
// wait is not reported again.
func Ended(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// Unit is the systemd service in whose control group p runs, empty if it is none
// (cgroups(7), /proc/PID/cgroup).
func (p Process) Unit() string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(raw) {
		// ID:CONTROLLERS:PATH. The unified hierarchy has no controllers, systemd's
		// own of version 1 is name=systemd.
		fields := bytes.SplitN(bytes.TrimSpace(line), []byte(":"), 3)
		if len(fields) != 3 || len(fields[1]) > 0 && string(fields[1]) != "name=systemd" {
			continue
		}
		if name := path.Base(string(fields[2])); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

// Alive returns a function that reports whether p still runs, without a look into
// /proc each time, and one that frees what it needs. The zero process never ends.
func (p Process) Alive() (alive func() bool, free func()) {
	if p == (Process{}) {
		return func() bool { return true }, func() {}
	}
	fd, err := p.Open()
	if err != nil {
		return func() bool { return !p.Gone() }, func() {}
	}
	alive = func() bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err != nil || n == 0
	}
	return alive, func() { _ = unix.Close(fd) }
}

// Gone reports whether p has ended.
func (p Process) Gone() bool {
	fd, err := p.Open()
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, ErrGone)
}
