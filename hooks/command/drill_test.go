package command_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks"
)

// flock FILE locks one as a drill that runs does, until `flock` alone.
func (r *router) cmdFlock(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Check(r.locked.Close())
		return
	}
	var err error
	r.locked, err = os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(syscall.Flock(int(r.locked.Fd()), syscall.LOCK_EX))
}

// exercise is a drill that runs on the router of a pairing.
type exercise struct {
	p   *pairing
	cmd *exec.Cmd
	out *started
}

func (p *pairing) drill(stdout *os.File, args ...string) *exercise {
	p.t.Helper()
	e := &exercise{p: p, out: &started{}}
	e.cmd = exec.Command(p.bin, p.args(append([]string{"drill", "--yes", "--keepalived", p.dir + "/k.conf"}, args...)...)...)
	e.cmd.Stdout, e.cmd.Stderr = &e.out.out, &e.out.out
	if stdout != nil {
		e.cmd.Stdout = stdout
	}
	e.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	p.router.Do(p.t, e.cmd.Start)
	p.t.Cleanup(func() { _ = e.cmd.Process.Kill() })
	return e
}

func (e *exercise) signal(s os.Signal) {
	e.p.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.p.t.Fatal(err)
	}
}

// ends waits for its exit code.
func (e *exercise) ends(want int, says string) {
	e.p.t.Helper()
	_ = e.cmd.Wait()
	if got := e.cmd.ProcessState.ExitCode(); got != want || !strings.Contains(e.out.out.String(), says) {
		e.p.t.Errorf("exit %d, want %d and %q:\n%s", got, want, says, e.out.out.String())
	}
}

// stopKeeper ends the one that answers, whoever has started it.
func (p *pairing) stopKeeper() {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var r hooks.Report
		out, _ := p.wanfail("status", "--json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
		if r.PID == 0 {
			return
		}
		_ = syscall.Kill(r.PID, syscall.SIGTERM)
	}
	p.t.Error("the keeper does not end")
}

// A drill that is disturbed in the middle ends with the priority put back, and
// the router with its role.
func TestDrillDisturbed(t *testing.T) {
	p := newPairing(t)
	// A disk of its own for the track_file, with room for that and a page more.
	disk := p.dir + "/disk"
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", disk, 0, "size=8k")
	file := disk + "/drill"
	tracked := func(want string) {
		t.Helper()
		raw, err := os.ReadFile(file)
		if text := strings.TrimSpace(string(raw)); err != nil || text != want {
			t.Errorf("the track_file holds %q, want %s; %v", text, want, err)
		}
	}
	p.write(p.dir+"/k.conf", strings.ReplaceAll(p.config(200, "track_file {\nwanfail_drill\n}\n"+p.hooks()), p.dir+"/drill", file), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(100, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
	keeper := p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	here := p.keepalived(p.router, p.dir+"/k.conf")
	p.await("state     bound", "status")
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "Entering BACKUP STATE")

	for _, c := range []struct {
		name    string
		hold    string
		disturb func(e *exercise)
		code    int
		says    string
	}{
		{"interrupt", "1m", func(e *exercise) { e.signal(syscall.SIGINT) }, 1, "interrupted"},
		{"terminate", "1m", func(e *exercise) { e.signal(syscall.SIGTERM) }, 1, "interrupted"},
		{"session lost", "1m", func(e *exercise) { e.signal(syscall.SIGHUP) }, 1, "interrupted"},
		{"quit", "1m", func(e *exercise) { e.signal(syscall.SIGQUIT) }, 1, "interrupted"},
		{"stopped from the terminal", "200ms", func(e *exercise) { e.signal(syscall.SIGTSTP) }, 0, "everything is as before"},
		{"another", "200ms", func(e *exercise) {
			if out, code := p.wanfail("drill", "--yes", "--keepalived", p.dir+"/k.conf"); code != 1 || !strings.Contains(out, "another drill runs") {
				t.Errorf("a second drill: %d, %s", code, out)
			}
		}, 0, "everything is as before"},
		{"keepalived reloads", "700ms", func(e *exercise) {
			if err := here.process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			here.await(t, "Reload complete")
		}, 0, "everything is as before"},
		{"the disk is full", "200ms", func(e *exercise) {
			if err := os.WriteFile(disk+"/filler", make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(disk+"/more", []byte("x"), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("the disk is not full: %v", err)
			}
		}, 0, "everything is as before"},
		{"the disk was full before", "0s", func(*exercise) {}, 0, "everything is as before"},
		{"the keeper ends", "1m", func(e *exercise) {
			keeper.stop()
			t.Cleanup(p.stopKeeper) // that the hook starts
		}, 1, "the keeper has ended"},
		{"the peer dies", "1m", func(e *exercise) { peer.stop() }, 1, "the peer lost the role"},
	} {
		t.Log(c.name)
		e := p.drill(nil, "--hold", c.hold)
		e.out.await(t, "backup: deleted")
		c.disturb(e)
		e.ends(c.code, c.says)
		tracked("0")
		p.await("state     bound", "status")
	}

	// Alone, this router stays master.
	p.drill(nil, "--limit", "1s").ends(1, "the peer did not take over: this router stayed master all the time")
	tracked("0")
	peer = p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "Entering BACKUP STATE")

	// Nobody reads what it says any more.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := p.drill(w, "--hold", "1m")
	_ = w.Close()
	for read := bufio.NewScanner(r); ; {
		if !read.Scan() {
			t.Fatalf("the output ends too early: %v", read.Err())
		}
		if strings.Contains(read.Text(), "priority lowered") {
			break
		}
	}
	_ = r.Close()
	e.ends(1, "interrupted")
	tracked("0")
	peer.await(t, "with higher priority 200") // it had begun to take over
	p.await("state     bound", "status")

	// Killed, it leaves the role to the peer, and says so until it is repaired.
	e = p.drill(nil, "--hold", "1m")
	e.out.await(t, "backup: deleted")
	e.signal(syscall.SIGKILL)
	e.ends(-1, "")
	tracked("-253")
	p.drill(nil).ends(1, file+" holds -253, and no drill runs: one was killed")
	p.await("role      backup", "status")
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.await("state     bound", "status")

	// A file that cannot be written, from the middle on and from the beginning.
	e = p.drill(nil, "--hold", "1s")
	e.out.await(t, "backup: deleted")
	cover := func() (uncover func()) {
		t.Helper()
		if err := errors.Join(unix.Mount(disk, disk, "", unix.MS_BIND, ""), unix.Mount("", disk, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
			t.Fatal(err)
		}
		return func() { _ = unix.Unmount(disk, unix.MNT_DETACH) }
	}
	uncover := cover()
	e.ends(1, "put the priority back: open "+file+": read-only file system; by hand, as soon as it can be written: echo 0 >"+file)
	uncover()
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.await("state     bound", "status")
	defer cover()()
	p.drill(nil).ends(1, "open "+file+": read-only file system")
	p.await("state     bound", "status")
}
