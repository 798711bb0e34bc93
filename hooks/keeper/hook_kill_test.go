package keeper_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
)

// keepalived is a shell by that name, which makes it the owner of what its
// children request, and runs the lines that it is given.
type fakeKeepalived struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func (r *rig) keepalived() *fakeKeepalived {
	r.t.Helper()
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.state, "keepalived")
	if err := os.WriteFile(path, shell, 0o755); err != nil && !strings.Contains(err.Error(), "text file busy") {
		r.t.Fatal(err)
	}
	k := &fakeKeepalived{cmd: exec.Command(path)}
	if k.in, err = k.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	k.cmd.Stdout, k.cmd.Stderr = r.log, r.log
	if err := k.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
	})
	return k
}

// run has it run the program with env.
func (k *fakeKeepalived) run(r *rig, env string, arg ...string) {
	fmt.Fprintf(k.in, "%s %s --config %s --run-dir %s %s </dev/null >/dev/null\n", env, r.binary, r.conf(), r.dir, strings.Join(arg, " "))
}

// The stop hook is killed at every step that its own code names, with a keeper
// and without; keepalived ends then. The WAN is silent within 100 ms of the
// hook's start.
func TestStopHookKilledAtEveryStep(t *testing.T) {
	r := newRig(t, true)
	for _, alone := range []bool{false, true} {
		killed := 0
		for n := 1; ; n++ {
			if n > 50 {
				t.Fatal("a hook takes more than 50 steps")
			}
			survived, name := r.stopKilledAt(n, alone)
			if t.Failed() {
				return
			}
			if survived {
				break
			}
			t.Logf("keeper %v, killed at step %d: %s", !alone, n, name)
			killed++
		}
		if killed < 4 {
			t.Errorf("alone %v: the code names %d steps, there are more", alone, killed)
		}
	}
}

func (r *rig) stopKilledAt(n int, alone bool) (survived bool, last string) {
	r.t.Helper()
	list := filepath.Join(r.t.TempDir(), "steps")
	r.startKeeper()
	k := r.keepalived()
	k.run(r, "", "primary")
	r.eventually("primary", 20*time.Second, func() bool { return r.settled(intent.Primary) })
	if alone {
		r.killKeepers()
	}
	start := time.Now()
	k.run(r, fmt.Sprintf("WANFAIL_KILL_HOOK=%d WANFAIL_STEPS_HOOK=%s", n, list), "stop")
	fmt.Fprintln(k.in, "echo $? >"+list+".code; exit")
	var silent time.Duration
	if alone {
		_ = k.cmd.Wait()
		// No keeper runs: what the hook was killed before it did, the supervisor's next
		// keeper does.
		r.startKeeper()
	}
	r.eventually("silence", 5*time.Second, func() bool {
		o, err := r.network.Observe(r.t.Context(), r.link())
		silent = time.Since(start)
		return err == nil && (!o.Exists || o.Muted)
	})
	if limit := 100 * time.Millisecond * slow; !alone && silent > limit {
		r.t.Errorf("killed at step %d: silent after %v, want %v", n, silent, limit)
	}
	if !alone {
		_ = k.cmd.Wait()
	}
	r.eventually("backup", 20*time.Second, func() bool { return r.settled(intent.Backup) })
	code, err := os.ReadFile(list + ".code")
	if err != nil {
		r.t.Fatal(err)
	}
	steps, err := os.ReadFile(list)
	if err != nil {
		r.t.Fatal(err)
	}
	r.killKeepers()
	names := strings.Split(strings.TrimSpace(string(steps)), "\n")
	return strings.TrimSpace(string(code)) != "137", names[len(names)-1]
}

// A keeper that was stopped, or hangs, still accepts connections. The hook mutes the
// WAN without waiting for it.
func TestKeeperHangs(t *testing.T) {
	r := newRig(t, false)
	cmd, _ := r.startKeeper()
	if out, err := r.output("primary"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	hook := r.command(nil, "stop", "--wait", "1s")
	if err := hook.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("mute", time.Second, func() bool {
		o, err := r.network.Observe(t.Context(), r.link())
		return err == nil && (!o.Exists || o.Muted)
	})
	t.Logf("mute after %v", time.Since(start))
	// In the end it does all the work.
	_ = hook.Wait()
	if !r.is(intent.Backup) || hook.ProcessState.ExitCode() != 1 {
		t.Errorf("after the hook, which ended with %d, links are %v", hook.ProcessState.ExitCode(), r.links())
	}
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.eventually("the keeper agrees", 5*time.Second, func() bool { return r.settled(intent.Backup) })
}

// output runs the program to its end.
func (r *rig) output(arg ...string) (string, error) {
	cmd := r.command(nil, arg...)
	cmd.Stdout, cmd.Stderr = nil, nil
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A keeper that a hook starts holds open nothing of what the hook's caller had
// open, a lock for instance.
func TestStartedKeeperHoldsNothing(t *testing.T) {
	r := newRig(t, false)
	lock := filepath.Join(r.state, "caller.lock")
	script := fmt.Sprintf("exec 9>%s; flock 9; %s --config %s --run-dir %s primary", lock, r.binary, r.conf(), r.dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(r.keepers()) != 1 {
		t.Fatalf("keepers %v", r.keepers())
	}
	if err := exec.Command("flock", "-n", lock, "true").Run(); err != nil {
		t.Error("the keeper holds its caller's lock")
	}
}
