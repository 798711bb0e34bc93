// Package nstest gives tests network namespaces of their own, so that no test
// ever touches the machine it runs on.
//
// Main runs a whole test binary inside a private network, mount and PID
// namespace; New adds further namespaces beside it for the other hosts of a
// test. When the test binary dies, however it dies, the kernel removes them all.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inside marks the process that already runs in its own namespaces.
const inside = "WANFAIL_NSTEST_INSIDE"

// Main is what TestMain of a package with namespace tests calls. It never
// returns. Without the privilege to create namespaces the tests fail: they are
// not skipped.
func Main(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(reexec())
	}
	if err := isolate(); err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// reexec runs this binary again with the same arguments in new namespaces and
// returns its exit code.
func reexec() int {
	// PR_SET_PDEATHSIG is tied to the thread that forks, so keep that thread.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nstest: create namespaces (these tests need root): %v\n", err)
		return 1
	}
	return 0
}

// isolate makes the mounts private, shows the new PID namespace in /proc and
// covers /run, so that nothing a test writes there reaches the machine.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cover /run: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// NS is one more network namespace, a host of its own.
type NS struct {
	handle netns.NsHandle
}

// New creates a namespace with lo up that lives until the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Fatal("nstest.New needs TestMain to call nstest.Main")
	}
	ns := &NS{handle: netns.None()}
	done := make(chan error, 1)
	go func() {
		// The thread is left locked: it ends with the goroutine instead of
		// returning to the scheduler inside the wrong namespace.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("unshare network namespace: %w", err)
			}
			h, err := netns.Get()
			if err != nil {
				return err
			}
			ns.handle = h
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(lo)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.handle.Close() })
	return ns
}

// FD is the namespace's file descriptor, for moving links into it
// (netlink.LinkSetNsFd).
func (n *NS) FD() int { return int(n.handle) }

// Do runs f on a thread inside the namespace: sockets that it opens belong
// there for good; netlink calls and /proc/sys/net act there.
func (n *NS) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := netns.Set(n.handle); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			return f()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Command prepares a process that runs inside the namespace and is killed when
// this test binary dies.
func (n *NS) Command(name string, arg ...string) *exec.Cmd {
	args := append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), n.FD()), "--", name}, arg...)
	cmd := exec.Command("nsenter", args...)
	return cmd
}

// Veth connects the test's own namespace (end name) with n (end peer), both up.
func (n *NS) Veth(t testing.TB, name, peer string) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: netlink.NsFd(n.FD())}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("add veth %s-%s: %v", name, peer, err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatalf("set %s up: %v", name, err)
	}
	n.Do(t, func() error {
		l, err := netlink.LinkByName(peer)
		if err != nil {
			return fmt.Errorf("find %s: %w", peer, err)
		}
		return netlink.LinkSetUp(l)
	})
}
