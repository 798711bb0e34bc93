package rundir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Boot identifies the boot that the content of the directory belongs to: what was
// written under another identity is void.
//
// What is in memory (tmpfs) does not survive a boot, so that there nothing needs
// to be compared but the system's first process, which is another one after the
// boot of a container. The kernel's boot_id is no alternative, since processes see
// different ones: container managers mount a file of theirs over it, and a sandboxed
// keeper has another view of /proc than keepalived's hooks. Where the directory is
// on a disk there is nothing else.
func (d Dir) Boot() (string, error) {
	dir, err := d.open()
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return "", fmt.Errorf("find out what %s is on: %w", d, err)
	}
	first, err := firstProcess()
	if err != nil {
		return "", err
	}
	if t := uint32(fs.Type); t == unix.TMPFS_MAGIC || t == unix.RAMFS_MAGIC {
		return "memory-" + first, nil
	}
	id, err := bootID()
	if err != nil {
		return "", fmt.Errorf("%w (needed since %s is not on a tmpfs)", err, d)
	}
	return id + "-" + first, nil
}

// Boot is that of the directory.
func (f File) Boot() (string, error) { return f.dir.Boot() }

func bootID() (string, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := strings.TrimSpace(string(raw))
	if id == "" {
		return "", fmt.Errorf("read boot id: %s is empty", file)
	}
	return id, nil
}

// firstProcess is the start time of process 1 (proc_pid_stat(5), field 22).
func firstProcess() (string, error) {
	raw, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("read the start of process 1: %w", err)
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:]) // the first is field 3
	if len(fields) < 20 {
		return "", errors.New("read the start of process 1: /proc/1/stat is malformed")
	}
	return string(fields[19]), nil
}
