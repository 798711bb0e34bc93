// Probe tries what a sandbox may forbid and prints, one line each, what became
// of it: "ok" or the name of the error. What is only asked for by a system call
// gets arguments that fail once the call is let in, so that a filter tells itself
// from a missing capability, and nothing is ever done.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	for _, p := range []struct {
		name string
		try  func() error
	}{
		{"write /etc", create("/etc")},
		{"write /usr", create("/usr")},
		{"write /var/lib", create("/var/lib")},
		{"write /run", create("/run")},
		{"write /run/wanfail", create("/run/wanfail")},
		{"write a sysctl of the network", sysctl},
		{"read /root", list("/root")},
		{"read /usr/lib/modules", list("/usr/lib/modules")},
		{"read /proc/kallsyms", func() error { _, err := os.ReadFile("/proc/kallsyms"); return err }},
		{"see /tmp", func() error { _, err := os.Stat("/tmp/mark"); return err }},
		{"see a device", func() error { _, err := os.Stat("/dev/net/tun"); return err }},
		{"make a control group", cgroup},
		{"set the host name", call(unix.SYS_SETHOSTNAME, 0, 5)},
		{"set the clock", call(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0)},
		{"mount", call(unix.SYS_MOUNT, 0, 0, 0, 0, 0)},
		{"chroot", call(unix.SYS_CHROOT, 0)},
		{"ptrace", call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1<<30, 0, 0)},
		{"reboot", call(unix.SYS_REBOOT, 1, 2, 3, 0)},
		{"be real-time", call(unix.SYS_SCHED_SETSCHEDULER, 0, 1 /* SCHED_FIFO */, 0)},
		{"change owners", call(unix.SYS_FCHOWN, ^uintptr(0), 0, 0)},
		{"change its personality", personality},
		{"make code", writeAndExecute},
		{"make a user namespace", userNamespace},
		{"make a setuid file", setuid},
		{"run 32-bit code", foreign},
		{"socket AF_UNIX", socket(unix.AF_UNIX)},
		{"socket AF_INET", socket(unix.AF_INET)},
		{"socket AF_NETLINK", socket(unix.AF_NETLINK)},
		{"socket AF_PACKET", socket(unix.AF_PACKET)},
		{"socket AF_INET6", socket(unix.AF_INET6)},
	} {
		fmt.Printf("%s: %s\n", p.name, word(p.try()))
	}
}

// word is the errno's name, if there is one in err.
func word(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

func create(dir string) func() error {
	return func() error {
		path := filepath.Join(dir, "probe")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
		return os.Remove(path)
	}
}

func list(dir string) func() error {
	return func() error {
		_, err := os.ReadDir(dir)
		return err
	}
}

// sysctl writes back what is there.
func sysctl() error {
	const path = "/proc/sys/net/ipv4/conf/default/arp_ignore"
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, now, 0o644)
}

func cgroup() error {
	const path = "/sys/fs/cgroup/probe"
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Remove(path)
}

func call(number uintptr, args ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

func personality() error {
	const linux32 = 8
	if err := call(unix.SYS_PERSONALITY, linux32)(); err != nil {
		return err
	}
	return call(unix.SYS_PERSONALITY, 0)()
}

func writeAndExecute() error {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

func userNamespace() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	return cmd.Run()
}

func setuid() error {
	const path = "/run/wanfail/setuid"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	err := unix.Chmod(path, 0o4600)
	return errors.Join(err, os.Remove(path))
}

// foreign runs a program for the i386: mov $42,%bl; mov $1,%al; int $0x80.
func foreign() error {
	const base, head = 0x08048000, 0x54
	code := []byte{0xb3, 42, 0xb0, 1, 0xcd, 0x80}
	elf := struct {
		Ident                                                          [16]byte
		Type, Machine                                                  uint16
		Version, Entry, Phoff, Shoff, Flags                            uint32
		Ehsize, Phentsize, Phnum, Shentsize, Shnum, Shstrndx           uint16
		PType, POffset, PVaddr, PPaddr, PFilesz, PMemsz, PFlags, PAlgn uint32
	}{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 1, 1, 1}, Type: 2, Machine: 3,
		Version: 1, Entry: base + head, Phoff: 0x34, Ehsize: 0x34, Phentsize: 0x20, Phnum: 1,
		PType: 1, PVaddr: base, PPaddr: base, PFilesz: head + 6, PMemsz: head + 6, PFlags: 5, PAlgn: 0x1000,
	}
	const path = "/run/wanfail/elf32"
	text := append(unsafe.Slice((*byte)(unsafe.Pointer(&elf)), head), code...)
	if err := os.WriteFile(path, text, 0o700); err != nil {
		return err
	}
	err := exec.Command(path).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 42 {
		err = nil
	}
	return errors.Join(err, os.Remove(path))
}

func socket(family int) func() error {
	return func() error {
		kind := unix.SOCK_DGRAM
		if family == unix.AF_NETLINK {
			kind = unix.SOCK_RAW
		}
		fd, err := unix.Socket(family, kind, 0)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}
