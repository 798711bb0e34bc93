package command_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A user runs a program with keepalived's name and a configuration of his own,
// which names a FIFO, a file that only root can read, and a command of the shell.
// Neither doctor nor a drill, which are root's, believes it.
func TestUsersKeepalived(t *testing.T) {
	overlay(t, "/etc")
	p := newPairing(t)
	if err := os.RemoveAll("/etc/keepalived"); err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("/run", "home")
	if err != nil {
		t.Fatal(err)
	}
	const secret = "only-for-root"
	p.write("/etc/secret", secret+"\n", 0o600)
	p.write(home+"/k.conf", `track_file drill {
	file `+home+`/fifo
}
track_file drill2 {
	file `+home+`/link
}
track_file drill3 {
	file "`+home+`/x;touch${IFS}/run/pasted"
}
vrrp_instance `+"evil\x1b[2J"+` {
	interface eth1
	track_file {
		drill2
	}
	notify "/usr/sbin/wanfail notify"
}
`, 0o644)
	p.write(home+"/x;touch${IFS}/run/pasted", "1\n", 0o644)
	if err := unix.Mkfifo(home+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/secret", home+"/link"); err != nil {
		t.Fatal(err)
	}
	// A script: the name of the process is the script's.
	p.write(home+"/keepalived", "#!/bin/sh\nread wait\n", 0o755)
	for _, name := range []string{".", "k.conf", "fifo", "keepalived"} {
		if err := os.Chown(filepath.Join(home, name), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	user := exec.Command(home+"/keepalived", "-f", home+"/k.conf")
	user.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stdin, err := user.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = user.Wait() }()
	awaitComm(t, user.Process.Pid, "keepalived")

	run := func(args ...string) (string, int) {
		t.Helper()
		cmd := exec.Command(p.bin, p.args(args...)...)
		var out lines
		cmd.Stdout, cmd.Stderr = &out, &out
		p.router.Do(t, cmd.Start)
		hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		if !hung.Stop() {
			t.Fatalf("%v hangs: %s", args, out.String())
		}
		for _, bad := range []string{secret, "\x1b", "\\u001b[2J\"\n"} {
			if strings.Contains(out.String(), bad) {
				t.Errorf("%v says %q:\n%s", args, bad, out.String())
			}
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
	for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}} {
		if out, _ := run(args...); strings.Contains(out, "evil") || strings.Contains(out, "/run/pasted") || !strings.Contains(out, "there is no keepalived.conf") {
			t.Errorf("%v believes a user's process:\n%s", args, out)
		}
	}
	if out, code := run("drill", "--yes"); code != 2 || strings.Contains(out, home) || !strings.Contains(out, "/etc/keepalived/keepalived.conf: no such file") {
		t.Errorf("drill: exit %d, %s", code, out)
	}
	if out, code := run("drill", "--dry-run", "--keepalived", home+"/k.conf"); code != 2 || !strings.Contains(out, "must be root's alone") {
		t.Errorf("drill with a user's configuration: exit %d, %s", code, out)
	}

	// Root's configuration may name such files, too: nothing hangs or is shown, and
	// what is printed to be pasted is quoted.
	p.write("/etc/keepalived/keepalived.conf", readFile(t, home+"/k.conf"), 0o644)
	out, _ := run("doctor")
	fix := ""
	for line := range strings.Lines(out) {
		if strings.Contains(line, "/run/pasted") && strings.HasPrefix(line, "  fix") {
			fix = strings.TrimSpace(strings.TrimPrefix(line, "  fix"))
		}
	}
	if !strings.Contains(fix, "echo 0 >'") {
		t.Fatalf("no quoted fix in:\n%s", out)
	}
	if b, err := exec.Command("sh", "-c", fix).CombinedOutput(); err != nil {
		t.Errorf("%s: %v, %s", fix, err, b)
	}
	if _, err := os.Lstat("/run/pasted"); err == nil {
		t.Errorf("the fix runs what the path says: %s", fix)
	}
	if got := readFile(t, home+"/x;touch${IFS}/run/pasted"); got != "0\n" {
		t.Errorf("the fix has left %q", got)
	}
	run("doctor", "--json")
	run("drill", "--dry-run")
	if out, code := run("drill", "--yes"); code != 1 || !strings.Contains(out, "must be root's alone") {
		t.Errorf("drill with a user's track_file: exit %d, %s", code, out)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// awaitComm waits until a process that was started runs its program.
func awaitComm(t *testing.T, pid int, want string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if strings.TrimSpace(readFile(t, filepath.Join("/proc", strconv.Itoa(pid), "comm"))) == want {
			return
		}
	}
	t.Fatalf("process %d never is %s", pid, want)
}
