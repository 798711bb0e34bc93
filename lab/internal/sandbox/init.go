package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Spec says what a machine is.
type Spec struct {
	Name    string
	Systemd bool // boot the image's systemd; otherwise nothing runs by itself
}

// boot is what PID 1 of a machine is told.
type boot struct {
	Spec
	Disk string // folder with upper and work, which outlive a boot
	Root string // empty folder to mount on
	Host string // folder to be seen as /run/host
}

// dropped are the powers that reach beyond namespaces: no machine may set the
// clock, load modules, touch hardware or read the kernel's log.
var dropped = []uintptr{
	unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYSLOG, unix.CAP_SYS_PACCT,
	unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND,
	unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ, unix.CAP_AUDIT_WRITE, unix.CAP_LINUX_IMMUTABLE,
}

// dropPowers removes them, and the lab's priority, from the calling thread and
// what it executes.
func dropPowers() error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 0); err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	for _, c := range dropped {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// Pipes of PID 1: it says when the mounts are done (or what went wrong), and is
// told when its network is complete.
const (
	mountedFD = 3
	goFD      = 4
)

// machineMain is PID 1 of a machine.
func machineMain() error {
	unix.CloseOnExec(mountedFD)
	unix.CloseOnExec(goFD)
	mounted := os.NewFile(mountedFD, "mounted")
	var b boot
	err := json.Unmarshal([]byte(os.Getenv(envSpec)), &b)
	if err == nil {
		err = setUpMachine(b)
	}
	if err != nil {
		_, _ = mounted.WriteString(err.Error())
		return err
	}
	if err := mounted.Close(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.NewFile(goFD, "go")); err != nil {
		return err
	}
	if err := dropPowers(); err != nil {
		return err
	}
	if b.Systemd {
		env := []string{"PATH=" + machinePath, "container=wanfail-lab", "NOTIFY_SOCKET=" + notifySocket}
		return fmt.Errorf("execute init: %w", syscall.Exec("/usr/lib/systemd/systemd", []string{"systemd"}, env))
	}
	return reap()
}

// notifySocket is where systemd reports the end of its boot, as seen from the
// machine.
const notifySocket = "/run/host/notify"

// reap is all that an init without services has to do.
func reap() error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil && !errors.Is(err, unix.ECHILD) {
				return fmt.Errorf("wait for orphans: %w", err)
			}
			if pid <= 0 {
				break
			}
		}
		<-children
	}
}

// setUpMachine mounts the machine's root and enters it.
func setUpMachine(b boot) error {
	if err := unix.Sethostname([]byte(b.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// Started in the control group of this machine: from now on its root.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare control groups: %w", err)
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		ImageDir, filepath.Join(b.Disk, "upper"), filepath.Join(b.Disk, "work"))
	if err := unix.Mount("overlay", b.Root, "overlay", 0, overlay); err != nil {
		return fmt.Errorf("mount overlay (%s): %w", overlay, err)
	}
	const nosuid, ro = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, unix.MS_RDONLY
	for _, m := range []struct {
		kind, at string
		flags    uintptr
		opt      string
	}{
		{"proc", "proc", nosuid, ""},
		// Read-only, as in any container: the devices are not ours.
		{"sysfs", "sys", nosuid | ro, ""},
		{"cgroup2", "sys/fs/cgroup", nosuid, ""},
		{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", "dev", unix.MS_NOSUID, "mode=0755"},
		{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		{"tmpfs", "dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		at := filepath.Join(b.Root, m.at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, at, m.kind, m.flags, m.opt); err != nil {
			return fmt.Errorf("mount %s on /%s of %s: %w", m.kind, m.at, b.Name, err)
		}
	}
	if err := makeDevices(filepath.Join(b.Root, "dev")); err != nil {
		return err
	}
	host := filepath.Join(b.Root, "run/host")
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(b.Host, host, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", host, err)
	}
	if err := protectKernel(filepath.Join(b.Root, "proc")); err != nil {
		return err
	}
	if err := os.Chdir(b.Root); err != nil {
		return err
	}
	// pivot_root(".", "."): the old root ends up over the new one, and goes.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return loopbackUp()
}

// protectKernel makes read-only what is not per namespace in /proc. The sysctls
// of the network are, so they stay writable.
func protectKernel(proc string) error {
	net := filepath.Join(proc, "sys/net")
	if err := unix.Mount(net, net, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", net, err)
	}
	for _, name := range []string{"sys", "sysrq-trigger", "irq", "bus"} {
		at := filepath.Join(proc, name)
		if _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if name == "sys" {
			// /proc/sys/net must stay on top of it: take it along.
			if err := unix.Mount(at, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("bind %s: %w", at, err)
			}
		} else if err := unix.Mount(at, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", at, err)
		}
		if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", at, err)
		}
	}
	return nil
}

func makeDevices(dev string) error {
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3},
		{"zero", 1, 5},
		{"full", 1, 7},
		{"random", 1, 8},
		{"urandom", 1, 9},
		{"tty", 5, 0},
		{"net/tun", 10, 200},
	} {
		path := filepath.Join(dev, d.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return &os.PathError{Op: "mknod", Path: path, Err: err}
		}
		if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // device nodes are for everybody
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
