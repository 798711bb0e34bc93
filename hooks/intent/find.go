package intent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// FindKeepalived looks for the keepalived of this machine among all processes: one
// of root's in our own PID and network namespace. Several routers can share a
// machine, each in namespaces of its own.
func FindKeepalived() (Process, bool) {
	dir, err := os.Open("/proc")
	if err != nil {
		return Process{}, false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	network, _ := os.Readlink("/proc/self/ns/net")
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		st, err := readStat(pid)
		if err != nil || !rootsKeepalived(pid, st.comm) || !ours(pid, network) {
			continue
		}
		// Its VRRP process is its child and has the same program.
		if parent, err := readStat(st.ppid); err == nil && rootsKeepalived(st.ppid, parent.comm) {
			continue
		}
		return Process{PID: pid, Start: st.start}, true
	}
	return Process{}, false
}

// rootsKeepalived reports whether a process runs root's program keepalived. A
// keeper in a sandbox may not see the program; then the name and the user decide.
func rootsKeepalived(pid int, comm string) bool {
	link := fmt.Sprintf("/proc/%d/exe", pid)
	exe, err := os.Readlink(link)
	if err == nil {
		// What an upgrade has replaced still runs.
		if filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "keepalived" {
			return false
		}
		info, err := os.Stat(link)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		return ok && st.Uid == 0
	}
	return os.IsPermission(err) && comm == "keepalived" && statusField(pid, "Uid:", 4) == "0"
}

// ours reports whether a process is in our PID namespace and, as far as that can
// be seen, in our network namespace.
func ours(pid int, network string) bool {
	if id := statusField(pid, "NSpid:", 1); id != strconv.Itoa(pid) {
		return false
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err != nil || network == "" || theirs == network
}

// statusField is the first value of a line of /proc/PID/status, and only if the
// line has just so many; "" if not.
func statusField(pid int, name string, values int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(raw) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if fields := bytes.Fields(rest); len(fields) == values {
				return string(fields[0])
			}
			return ""
		}
	}
	return ""
}
