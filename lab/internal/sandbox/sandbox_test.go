package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/image"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main(func(ctx context.Context) (sandbox.Files, error) {
		dir, err := image.Ensure(ctx, func(f float64, what string) { fmt.Fprintf(os.Stderr, "%3.0f %% %s\n", f*100, what) })
		return sandbox.Files{Image: dir}, err
	}, m.Run)
}

func boot(t *testing.T, disk *sandbox.Disk, systemd bool) *sandbox.Machine {
	t.Helper()
	m, err := sandbox.Boot(disk, sandbox.Spec{Name: "box", Systemd: systemd}, func(*sandbox.Machine) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

func newDisk(t *testing.T) *sandbox.Disk {
	t.Helper()
	disk, err := sandbox.NewDisk("box")
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func sh(t *testing.T, m *sandbox.Machine, script string) string {
	t.Helper()
	var out strings.Builder
	cmd, err := m.Start(func() *exec.Cmd {
		c := exec.CommandContext(t.Context(), "sh", "-c", script)
		c.Stdout, c.Stderr = &out, &out
		return c
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out.String())
	}
	return out.String()
}

func TestSystemdBoots(t *testing.T) {
	began := time.Now()
	m := boot(t, newDisk(t), true)
	t.Logf("booted in %v", time.Since(began))
	if got := sh(t, m, "systemctl is-system-running; systemctl --failed --no-legend; cat /proc/1/comm; hostname"); got != "running\nsystemd\nbox\n" {
		t.Errorf("got %q", got)
	}
	sh(t, m, "systemd-run --wait --collect true")
}

func TestMachineWithoutServices(t *testing.T) {
	m := boot(t, newDisk(t), false)
	if got := sh(t, m, "ls -d /run/systemd/system 2>&1; ip -br link | cut -d' ' -f1"); !strings.HasSuffix(got, "lo\n") || !strings.Contains(got, "No such") {
		t.Errorf("got %q", got)
	}
	// An orphan must not stay as a zombie.
	sh(t, m, "(true &) ; for i in $(seq 50); do ps -eo stat= | grep -q Z || exit 0; sleep 0.02; done; exit 1")
}

func TestMachineCannotReachTheComputer(t *testing.T) {
	m := boot(t, newDisk(t), false)
	for _, script := range []string{
		"echo 1 > /proc/sys/kernel/panic",
		"echo b > /proc/sysrq-trigger",
		"date -s 2001-01-01",
		"touch /sys/kernel/x",
	} {
		sh(t, m, "! "+script+" 2>/dev/null")
	}
	sh(t, m, "echo 1 > /proc/sys/net/ipv4/ip_forward")
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err != nil || strings.TrimSpace(string(b)) != "0" {
		t.Errorf("ip_forward of the inside is %q, %v", b, err)
	}
}

func TestDiskOutlivesAPowerCut(t *testing.T) {
	disk := newDisk(t)
	m := boot(t, disk, true)
	sh(t, m, "echo kept > /etc/kept; echo lost > /run/lost")
	m.Kill()
	if _, err := m.Start(func() *exec.Cmd { return exec.Command("true") }); !errors.Is(err, sandbox.ErrOff) {
		t.Errorf("a command on a machine that is off: %v", err)
	}
	m = boot(t, disk, true)
	if got := sh(t, m, "cat /etc/kept; ls /run/lost 2>/dev/null || echo gone"); got != "kept\ngone\n" {
		t.Errorf("got %q", got)
	}
}

// hold makes the test binary boot a machine and wait to be killed.
const hold = "SANDBOX_TEST_HOLD"

func TestHold(t *testing.T) {
	if os.Getenv(hold) == "" {
		return // part of TestNothingIsLeft
	}
	m := boot(t, newDisk(t), true)
	sh(t, m, "setsid sleep 1000 >/dev/null 2>&1 &")
	fmt.Println("up")
	select {}
}

// TestNothingIsLeft starts a whole sandbox inside of this one and kills it.
func TestNothingIsLeft(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			before := processes(t)
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestHold$", "-test.v")
			// Not by way of PATH: what tells a stage from a start must be gone.
			cmd.Env = []string{hold + "=1", "PATH=" + os.Getenv("PATH"), image.EnvImage + "=" + sandbox.ImageDir}
			cmd.Stderr = t.Output()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			up := false
			for s := bufio.NewScanner(out); !up && s.Scan(); {
				up = strings.HasSuffix(s.Text(), "up")
			}
			if !up {
				t.Fatalf("it did not boot: %v", cmd.Wait())
			}
			if len(processes(t)) < len(before)+6 {
				t.Errorf("few processes: %q", processes(t))
			}
			if len(groups(t)) == 0 {
				t.Error("no control group to be left behind")
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			deadline := time.Now().Add(10 * time.Second)
			for time.Now().Before(deadline) {
				if len(processes(t)) <= len(before) && len(groups(t)) == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("left behind: processes %q, control groups %q", processes(t), groups(t))
		})
	}
}

// processes that run, zombies aside: nobody here waits for orphans.
func processes(t *testing.T) (list []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if _, rest, ok := strings.Cut(string(b), ") "); err == nil && ok && rest[0] != 'Z' {
			list = append(list, strings.Split(string(b), ") ")[0])
		}
	}
	return list
}

// groups are the control groups of sandboxes below our own.
func groups(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		self, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(self)) {
			if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				list, _ := filepath.Glob(filepath.Join(mount, own, "wanfail-lab-*"))
				found = append(found, list...)
			}
		}
	}
	return found
}
