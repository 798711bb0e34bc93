package matrix

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// process is a program in the background of a case.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts a program in a namespace and ends it with the test. What it
// printed is shown when the test has failed.
func start(t *testing.T, ns *nstest.NS, env []string, argv ...string) *process {
	t.Helper()
	p := &process{log: filepath.Join(t.TempDir(), "log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = ns.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", argv[0], err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(unix.SIGKILL)
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(argv, " "), p.output())
		}
	})
	return p
}

// stop sends a signal and waits for the end, which it brings about after 3 s.
func (p *process) stop(sig unix.Signal) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = unix.Kill(-p.cmd.Process.Pid, sig)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		<-p.done
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
