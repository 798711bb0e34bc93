package intent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFindKeepalived runs in PID and network namespaces of its own, where no other
// keepalived is.
func TestFindKeepalived(t *testing.T) {
	const env = "WANFAIL_TEST_FIND"
	switch os.Getenv(env) {
	case "":
		cmd := exec.Command("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "/proc/self/exe", "-test.run=^TestFindKeepalived$", "-test.v")
		cmd.Args[6] = executable(t)
		cmd.Env = append(os.Environ(), env+"=inside")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	case "sandbox":
		p, ok := FindKeepalived()
		fmt.Printf("found %v %d\n", ok, p.PID)
		return
	}
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_ = os.Chmod(filepath.Dir(dir), 0o755)
	_ = os.Chmod(dir, 0o755)
	program := func(name string) string {
		path := filepath.Join(dir, name, "keepalived")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, sh, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots, users := program("root"), program("user")
	if err := os.Chown(users, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	// start runs a program that says when it is there and ends with its stdin.
	start := func(args ...string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return cmd
	}
	const wait = "echo; read x"
	none := func(what string) {
		t.Helper()
		if p, ok := FindKeepalived(); ok {
			t.Errorf("%s: found %d", what, p.PID)
		}
	}
	none("nothing runs")
	theirs := start(users, "-c", wait)
	none("a user's program of that name")
	other := start("unshare", "--net", roots, "-c", wait)
	none("that of another router on this machine")
	start("unshare", "--pid", "--fork", "--kill-child", roots, "-c", wait)
	none("that of a container")

	p := start(roots, "-c", roots+" -c '"+wait+"'; true")
	found, ok := FindKeepalived()
	if !ok || found.PID != p.Process.Pid || found.Gone() {
		t.Errorf("found %v, %v, want %d and not its child", found, ok, p.Process.Pid)
	}
	// With none of the capabilities that keepalived has, its program and
	// namespaces cannot be read, and those two would pass for it.
	for _, cmd := range []*exec.Cmd{theirs, other} {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	sandboxed := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", executable(t), "-test.run=^TestFindKeepalived$", "-test.v")
	sandboxed.Env = append(os.Environ(), env+"=sandbox")
	out, err := sandboxed.CombinedOutput()
	if want := fmt.Sprintf("found true %d\n", p.Process.Pid); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("in a sandbox: %v, %s, want %s", err, out, want)
	}
	if err := os.Remove(roots); err != nil { // by an upgrade
		t.Fatal(err)
	}
	if found, ok := FindKeepalived(); !ok || found.PID != p.Process.Pid {
		t.Errorf("after an upgrade: found %v, %v", found, ok)
	}
	if err := p.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	// Its child, which nobody reads from, ends with the pipe; until then it is an
	// orphan that still runs the program.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if found, ok = FindKeepalived(); !ok {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still found: %v", found)
		}
	}
}

// executable is this program. A name in /proc would mean another one to others.
func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}
