package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Image is the root directory of the lab's Debian image, whose daemons tests
// run. Its /run and /tmp are covered, for this test binary alone, so that nothing
// is ever written to it.
func Image(t testing.TB) string {
	t.Helper()
	root := os.Getenv("LAB_IMAGE")
	if root == "" {
		t.Fatal("LAB_IMAGE is not set: `make unit` builds the image and names it (or: LAB_IMAGE=$(go run ./lab/cmd/lab image))")
	}
	for _, dir := range []string{"run", "tmp", "var/lib/misc"} {
		path := filepath.Join(root, dir)
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=1777"); err != nil {
			t.Fatalf("cover %s: %v", path, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	return root
}

// Daemon starts a program of the image inside the namespace and ends it with the
// test; what it prints goes to the test's log when the test fails.
func (n *NS) Daemon(t testing.TB, root, name string, arg ...string) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "daemon")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{fmt.Sprintf("--net=/proc/self/fd/%d", 3), "chroot", root, name}, arg...)
	cmd := exec.Command("nsenter", args...)
	ns, err := unix.Dup(n.FD())
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(ns), "netns")
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			out, _ := os.ReadFile(log.Name())
			t.Logf("%s said:\n%s", name, out)
		}
	})
	return cmd
}
