package command_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
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

// asked CODE ANSWER ARGS... runs the program on a terminal and answers when it
// asks: with a line, or with a signal.
func (r *router) cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	master, slave, err := pty()
	ts.Check(err)
	defer master.Close()
	cmd := r.command(ts, args[2:])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	r.do(cmd.Start)
	ts.Check(slave.Close())
	out := &lines{}
	done := make(chan struct{})
	go func() { // ends with the last who has the terminal
		defer close(done)
		_, _ = io.Copy(out, master)
	}()
	r.await(ts, "question", func() bool { return strings.Contains(out.String(), "[y/N] ") })
	if s, ok := map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGHUP": syscall.SIGHUP}[args[1]]; ok {
		ts.Check(cmd.Process.Signal(s))
	} else {
		_, err = master.WriteString(args[1] + "\n")
		ts.Check(err)
	}
	_ = cmd.Wait()
	<-done
	_, _ = ts.Stdout().Write([]byte(strings.ReplaceAll(out.String(), "\r", "")))
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
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
		var r control.Report
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
	t.Cleanup(p.stopKeeper) // after keepalived's last hooks
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
			// A hook starts the next one.
		}, 1, "the keeper has ended"},
		{"the peer dies", "1m", func(e *exercise) { peer.stop() }, 1, "the peer did not keep the role"},
	} {
		t.Log(c.name)
		e := p.drill(nil, "--hold", c.hold)
		e.out.await(t, "  deleted after")
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

	// The reader of its output has ended.
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

	// Killed, it leaves the role to the peer, and reports that until it is repaired.
	e = p.drill(nil, "--hold", "1m")
	e.out.await(t, "  deleted after")
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
	e.out.await(t, "  deleted after")
	readOnly := func(flag uintptr) {
		t.Helper()
		if err := unix.Mount("", disk, "", unix.MS_REMOUNT|flag, "size=8k"); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(unix.MS_RDONLY)
	e.ends(1, "put the priority back: write "+file+": read-only file system; by hand, as soon as it can be written: echo 0 >"+file)
	readOnly(0)
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.await("state     bound", "status")
	readOnly(unix.MS_RDONLY)
	defer readOnly(0)
	p.drill(nil).ends(1, "open "+file+": read-only file system")
	p.await("state     bound", "status")
}

// What keepalived is configured to do decides how a drill goes.
func TestDrillConfigurations(t *testing.T) {
	for _, c := range []struct {
		name       string
		mine, peer string // lines of the instances
		args       []string
		restart    bool
		code       int
		says       string
	}{
		{"nopreempt", "nopreempt", "", nil, false, 0, "this router stays backup (nopreempt)"},
		{"nopreempt there", "", "nopreempt", []string{"--limit", "1s"}, false, 1, "the peer did not take over"},
		{"fault there", "", "track_file {\nwanfail_drill weight 0\n}", []string{"--limit", "1s"}, false, 1, "the peer did not take over"},
		{"delay", "preempt_delay 1", "preempt_delay 1", nil, false, 0, "everything is as before"},
		{"restart", "", "", []string{"--hold", "1m"}, true, 1, "the peer did not keep the role"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPairing(t)
			p.write(p.dir+"/k.conf", p.config(200, "track_file {\nwanfail_drill\n}\n"+c.mine+"\n"+p.hooks()), 0o644)
			p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(100, c.peer), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
			p.start(p.router, p.bin, p.args("keeper")...)
			p.await("role      backup", "status")
			here := p.keepalived(p.router, p.dir+"/k.conf")
			p.await("state     bound", "status")
			peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
			peer.await(t, "Entering BACKUP STATE")
			if strings.Contains(c.peer, "weight 0") {
				p.write(p.dir+"/peer/drill", "1\n", 0o644)
				peer.await(t, "Entering FAULT STATE")
			}
			e := p.drill(nil, append([]string{"--hold", "200ms"}, c.args...)...)
			if c.restart {
				e.out.await(t, "  deleted after")
				here.stop()
				p.keepalived(p.router, p.dir+"/k.conf")
			}
			e.ends(c.code, c.says)
			t.Log("\n" + e.out.out.String())
			if raw, err := os.ReadFile(p.dir + "/drill"); err != nil || strings.TrimSpace(string(raw)) != "0" {
				t.Errorf("the track_file holds %q, %v", raw, err)
			}
			role := "primary"
			if c.mine == "nopreempt" {
				role = "backup"
			}
			p.await("role      "+role, "status")
		})
	}
}

// What `wanfail drill` refuses is a FAULT to keepalived, even without a peer; and
// a group with the track_file is none.
func TestDrillFaults(t *testing.T) {
	p := newPairing(t)
	p.write(p.dir+"/wanfail.conf", "config wan wan\n\toption parent eth2\n\toption macaddr 02:68:71:2e:62:67\n\toption instance VI_1\n", 0o644)
	const track = "track_file {\nwanfail_drill\n}\n"
	group := "vrrp_sync_group G {\ngroup {\nVI_1\n}\n"
	for name, c := range map[string]struct{ config, says string }{
		"member": {p.config(200, track) + group + "}\n", "Entering FAULT STATE"},
		"owner":  {p.config(255, track), "Entering FAULT STATE"},
		"group":  {p.config(200, "") + group + track + "}\n", "Changing effective priority from 200 to 1"},
		"both, with weights": {
			p.config(200, track) + group + "sync_group_tracking_weight\n" + track + "}\n", "Changing effective priority from 200 to 1",
		},
	} {
		p.write(p.dir+"/k.conf", c.config, 0o644)
		k := p.keepalived(p.router, p.dir+"/k.conf")
		k.await(t, "Entering MASTER STATE")
		p.write(p.dir+"/drill", "-253\n", 0o644)
		k.await(t, c.says)
		k.stop()
		if fault := strings.Contains(k.out.String(), "FAULT STATE"); fault != strings.Contains(c.says, "FAULT") {
			t.Errorf("%s: FAULT is %t:\n%s", name, fault, k.out.String())
		}
		out, code := p.wanfail("drill", "--dry-run", "--keepalived", p.dir+"/k.conf")
		if refused := code == 2; refused != strings.Contains(c.says, "FAULT") {
			t.Errorf("%s: the drill says %s", name, out)
		}
	}
}

// Two WANs that follow an instance each move together, or one of them alone.
func TestDrillWANs(t *testing.T) {
	p := newPairing(t)
	conf := "config wanfail\n\toption service none\n"
	for i, name := range []string{"wan", "wan2"} {
		conf += fmt.Sprintf("config wan %s\n\toption parent eth2\n\toption macaddr 02:68:71:2e:62:%d\n\toption metric %d\n\toption instance VI_%d\n", name, 60+i, i, i+1)
	}
	p.write(p.dir+"/wanfail.conf", conf, 0o644)
	// Both instances, each with a track_file of its own.
	both := func(dir string, first, second int, more string) string {
		one := p.config(first, more)
		two := strings.NewReplacer("wanfail_drill", "wanfail_drill2", p.dir+"/drill", p.dir+"/drill2", "VI_1", "VI_2", "router_id 51", "router_id 52", ".10.1/24", ".10.9/24").
			Replace(p.config(second, more))
		_, two, _ = strings.Cut(two, "}\n") // without global_defs
		return strings.ReplaceAll(one+two, p.dir+"/drill", dir+"/drill")
	}
	p.write(p.dir+"/k.conf", both(p.dir, 200, 150, "track_file {\nwanfail_drill\n}\nnotify \""+p.bin+" "+strings.Join(p.args("notify"), " ")+"\""), 0o644)
	p.write(p.dir+"/peer/k.conf", both(p.dir+"/peer", 100, 90, ""), 0o644)
	p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	p.keepalived(p.router, p.dir+"/k.conf")
	bound := func() {
		t.Helper()
		p.settled(func(r control.Report) bool {
			return r.WANs[0].Address.IsValid() && r.WANs[1].Address.IsValid()
		})
	}
	bound()
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "(VI_1) Entering BACKUP STATE")
	peer.await(t, "(VI_2) Entering BACKUP STATE")

	e := p.drill(nil, "--hold", "300ms")
	e.ends(0, "everything is as before")
	out := e.out.out.String()
	t.Log("\n" + out)
	for _, want := range []string{
		"VI_1, VI_2, for wan, wan2: this router will", "the peer answers for 192.168.10.1\n", "the peer answers for 192.168.10.9\n",
		"this router has 192.168.10.1 again", "this router has 192.168.10.9 again", "192.168.10.9 unanswered for at most",
	} {
		if strings.Count(out, want) != 1 {
			t.Errorf("not said once: %s", want)
		}
	}

	e = p.drill(nil, "--hold", "300ms", "--instance", "VI_2")
	p.settled(func(r control.Report) bool { return r.WANs[1].Role == intent.Backup && r.WANs[0].Address.IsValid() })
	e.ends(0, "everything is as before")
	out = e.out.out.String()
	t.Log("\n" + out)
	if strings.Contains(out, "192.168.10.1\n") || strings.Contains(out, "wan backup") || !strings.Contains(out, "the peer answers for 192.168.10.9") {
		t.Error("more or less than VI_2 has moved")
	}
	bound()
}

// settled waits until the keeper's report is as wanted.
func (p *pairing) settled(want func(control.Report) bool) {
	p.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var r control.Report
		out, _ := p.wanfail("status", "--json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
		if want(r) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("never so:\n%s", out)
		}
	}
}
