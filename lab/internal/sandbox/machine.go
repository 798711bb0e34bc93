package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// machinePath is PATH in a machine.
const machinePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// allNamespaces are those that a machine has of its own.
const allNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Disk is what a machine keeps when it is switched off.
type Disk struct{ dir string }

// NewDisk makes an empty one: the machine starts from the plain image.
func NewDisk(name string) (*Disk, error) {
	dir, err := os.MkdirTemp(machineDir, name+"-")
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"upper", "work", "root", "host"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	d := &Disk{dir: dir}
	// systemd sets the host name once more.
	return d, d.WriteFile("/etc/hostname", []byte(name+"\n"), 0o644)
}

// WriteFile puts a file on the disk of a machine that is off.
func (d *Disk) WriteFile(path string, data []byte, mode os.FileMode) error {
	at := filepath.Join(d.dir, "upper", path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, data, mode)
}

// Symlink puts a symbolic link on the disk of a machine that is off.
func (d *Disk) Symlink(target, path string) error {
	at := filepath.Join(d.dir, "upper", path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, at)
}

// Machine is one that is switched on.
type Machine struct {
	cmd    *exec.Cmd
	ns     netns.NsHandle
	pidfd  int
	dead   chan struct{} // closed once PID 1, and all with it, has ended
	stderr *bytes.Buffer

	closing sync.RWMutex // read-held while ns or pidfd is in use
	closed  bool
}

// Boot switches a machine on. plug is called when its network namespace exists
// and before anything runs in it. With systemd, Boot returns when all units of
// the default target are up.
func Boot(disk *Disk, spec Spec, plug func(*Machine) error) (*Machine, error) {
	if !Inside() {
		return nil, errors.New("boot outside of the sandbox: call sandbox.Main first")
	}
	b := boot{
		Spec: spec, Disk: disk.dir,
		Root: filepath.Join(disk.dir, "root"), Host: filepath.Join(disk.dir, "host"),
	}
	m, err := start(b, plug)
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", spec.Name, err)
	}
	return m, nil
}

func start(b boot, plug func(*Machine) error) (_ *Machine, err error) {
	spec, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	group, err := newGroup(b.Name)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	mountedR, mountedW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer mountedR.Close()
	goR, goW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, mountedW.Close())
	}
	var ready *net.UnixConn
	if b.Systemd {
		// Left by the boot before this one.
		socket := filepath.Join(b.Host, filepath.Base(notifySocket))
		_ = os.Remove(socket)
		if ready, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}); err != nil {
			return nil, errors.Join(err, mountedW.Close(), goR.Close(), goW.Close())
		}
		defer ready.Close()
	}
	m := &Machine{dead: make(chan struct{}), stderr: &bytes.Buffer{}, pidfd: -1, ns: netns.None()}
	m.cmd = exec.Command("/proc/self/exe")
	m.cmd.Args[0] = b.Name
	m.cmd.Env = []string{envStage + "=" + stageMachine, envSpec + "=" + string(spec)}
	m.cmd.ExtraFiles = []*os.File{mountedW, goR}
	m.cmd.Stderr = m.stderr
	// No PR_SET_PDEATHSIG: the PID namespace of the inside takes care of it.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UseCgroupFD: true,
		CgroupFD:    int(group.Fd()),
		PidFD:       &m.pidfd,
		Setsid:      true,
	}
	err = m.cmd.Start()
	err = errors.Join(err, mountedW.Close(), goR.Close())
	if err != nil {
		return nil, errors.Join(err, goW.Close())
	}
	go func() {
		_ = m.cmd.Wait()
		close(m.dead)
	}()
	defer func() {
		if err != nil {
			_ = goW.Close()
			m.Kill()
		}
	}()
	trouble, err := io.ReadAll(mountedR)
	if err != nil {
		return nil, err
	}
	if len(trouble) > 0 {
		return nil, errors.New(string(trouble))
	}
	if m.ns, err = netns.GetFromPid(m.cmd.Process.Pid); err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if err := plug(m); err != nil {
		return nil, err
	}
	if err := goW.Close(); err != nil {
		return nil, err
	}
	if ready != nil {
		return m, m.waitReady(ready)
	}
	return m, nil
}

// bootLimit is how long a systemd may take, on a computer that is busy with
// other things.
const bootLimit = 60 * time.Second

// waitReady reads the notifications of systemd until it has booted.
func (m *Machine) waitReady(c *net.UnixConn) error {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-m.dead:
			_ = c.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	if err := c.SetReadDeadline(time.Now().Add(bootLimit)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return fmt.Errorf("wait for systemd: %w %s", err, m.stderr.String())
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// newGroup creates the control group for one boot. An earlier one of the same
// machine may still hold what its systemd made.
func newGroup(name string) (*os.File, error) {
	for i := 0; ; i++ {
		child := fmt.Sprintf("%s.%d", name, i)
		err := unix.Mkdirat(groupsFD, child, 0o755)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create control group %s: %w", child, err)
		}
		fd, err := unix.Openat(groupsFD, child, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open control group %s: %w", child, err)
		}
		return os.NewFile(uintptr(fd), child), nil
	}
}

// NetNS is for moving links into the machine and for netlink handles in it. It
// is valid until Kill.
func (m *Machine) NetNS() netns.NsHandle { return m.ns }

// Pid is that of the machine's PID 1, as seen from here.
func (m *Machine) Pid() int { return m.cmd.Process.Pid }

// Dead is closed when the machine is off.
func (m *Machine) Dead() <-chan struct{} { return m.dead }

// Path is a file of the machine, as seen from here while it is on.
func (m *Machine) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.Pid(), path)
}

// Halt ends every process of the machine at once, as a power cut does. Kill must
// follow.
func (m *Machine) Halt() { _ = unix.PidfdSendSignal(m.pidfd, unix.SIGKILL, nil, 0) }

// Kill ends every process of the machine and returns when they are gone.
func (m *Machine) Kill() {
	m.closing.RLock()
	if !m.closed {
		m.Halt()
	}
	m.closing.RUnlock()
	<-m.dead
	m.closing.Lock()
	defer m.closing.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	_ = unix.Close(m.pidfd)
	_ = m.ns.Close()
}

// ErrOff is returned for anything asked of a machine that is off.
var ErrOff = errors.New("machine is off")

// Net runs f on a thread in the machine's network namespace. Sockets that it
// opens stay there for good.
func (m *Machine) Net(f func() error) error { return m.enter(unix.CLONE_NEWNET, f) }

// Start starts cmd as a process of the machine; make is called inside so that
// the command is looked up there. It is in a process group of its own.
func (m *Machine) Start(make func() *exec.Cmd) (*exec.Cmd, error) {
	var cmd *exec.Cmd
	err := m.enter(allNamespaces, func() error {
		if err := dropPowers(); err != nil {
			return err
		}
		cmd = make()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Setpgid = true
		if cmd.Env == nil {
			cmd.Env = []string{"PATH=" + machinePath, "HOME=/root", "LC_ALL=C", "TERM=dumb"}
		}
		if cmd.Cancel != nil {
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		}
		// Where a grandchild keeps our pipe open (a daemon does), Wait must not
		// wait for that.
		if cmd.WaitDelay == 0 {
			cmd.WaitDelay = 500 * time.Millisecond
		}
		return cmd.Start()
	})
	return cmd, err
}

func (m *Machine) enter(namespaces int, f func() error) error {
	m.closing.RLock()
	defer m.closing.RUnlock()
	if m.closed {
		return ErrOff
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine instead of going
		// back to the scheduler in the wrong namespaces.
		runtime.LockOSThread()
		done <- func() error {
			if namespaces&unix.CLONE_NEWNS != 0 {
				// A thread shares root and working folder with the others unless
				// it says otherwise, and then cannot change mount namespaces.
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					return fmt.Errorf("unshare working folder: %w", err)
				}
			}
			if err := unix.Setns(m.pidfd, namespaces); err != nil {
				return fmt.Errorf("enter namespaces: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}
