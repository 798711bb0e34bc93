// Package packages tests what is installed on a router: the scripts, under
// busybox and against stand-ins that write down how they were called, and the
// packages, down to the bytes.
package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// repo is the root of the repository.
const repo = "../.."

// root is a small file system to chroot into: busybox and stand-ins.
type root string

// newRoot builds one with the given programs as recording stand-ins.
func newRoot(t *testing.T, programs ...string) root {
	t.Helper()
	r := root(t.TempDir())
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("needs busybox (Debian: busybox-static): ", err)
	}
	r.copy(t, busybox, "bin/busybox", 0o755)
	for _, applet := range []string{"sh", "grep", "rm", "cat", "env", "sed", "mkdir", "true", "false"} {
		if err := os.Symlink("busybox", r.path("bin/"+applet)); err != nil {
			t.Fatal(err)
		}
	}
	// Enough of a /dev/null for programs that write to it and never read back.
	r.write(t, "dev/null", "", 0o666)
	for _, p := range programs {
		r.copy(t, "testdata/record", p, 0o755)
	}
	return r
}

func (r root) path(name string) string { return filepath.Join(string(r), name) }

func (r root) write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func (r root) copy(t *testing.T, from, name string, mode os.FileMode) {
	t.Helper()
	r.write(t, name, read(t, from), mode)
}

// answer makes a stand-in go on with this shell code after it was recorded.
func (r root) answer(t *testing.T, program, code string) {
	t.Helper()
	r.write(t, "answers/"+program, code, 0o644)
}

// result is what came of a script.
type result struct {
	code  int
	out   string   // both streams
	calls []string // of the stand-ins: name [arg] [arg]
}

// run runs a program of the root and forgets the calls before it.
func (r root) run(t *testing.T, env []string, argv ...string) result {
	t.Helper()
	if err := os.RemoveAll(r.path("calls")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	cmd.Dir = "/"
	// A chroot alone keeps files apart, not the network: busybox's shell runs its
	// own ip and ifconfig in the place of a stand-in that a script does not name by
	// its path.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: string(r),
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("run %q (needs root): %v", argv, err)
	}
	res := result{code: cmd.ProcessState.ExitCode(), out: out.String()}
	raw, err := os.ReadFile(r.path("calls"))
	if err == nil {
		res.calls = strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	} else if !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return res
}

// want compares a result: exit code, no output (the scripts are silent unless
// told otherwise) and exactly these calls.
func (res result) want(t *testing.T, code int, calls ...string) {
	t.Helper()
	if res.code != code {
		t.Errorf("exit code %d, want %d", res.code, code)
	}
	if res.out != "" {
		t.Errorf("output: %s", res.out)
	}
	if !slices.Equal(res.calls, calls) {
		t.Errorf("calls:\n\t%s\nwant:\n\t%s", strings.Join(res.calls, "\n\t"), strings.Join(calls, "\n\t"))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// packaging is a file below packaging.
func packaging(name string) string { return filepath.Join(repo, "packaging", name) }

// Whatever a script under test does to the network, it is not this machine's.
func TestScriptsHaveANetworkOfTheirOwn(t *testing.T) {
	r := newRoot(t)
	got := r.run(t, nil, "/bin/busybox", "ip", "-o", "link")
	if got.code != 0 || strings.Count(got.out, "\n") != 1 || !strings.Contains(got.out, " lo: ") {
		t.Errorf("want lo and nothing else, got %d:\n%s", got.code, got.out)
	}
}
