package intent

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// hookScript is what stands for keepalived in TestTokensBehindScripts: a shell
// under its name, which forks a script for each event and waits for neither.
// The older one reaches its program when the newer one is through with it.
const hookScript = `
sh -c 'read gate <"$DIR/gate"; "$PROGRAM"; "$PROGRAM"; exec "$PROGRAM"' >"$DIR/older" &
older=$!
"$PROGRAM" >"$DIR/direct" &
wait $!
env -i PATH="$PATH" WANFAIL_TEST_ANCESTRY=1 sh -c "$PROGRAM; true" >"$DIR/newer" &
wait $!
echo go >"$DIR/gate"
wait $older
`

// Whatever stands between keepalived and wanfail, and however long it takes: the
// order is that in which keepalived has started them.
func TestTokensBehindScripts(t *testing.T) {
	const env = "WANFAIL_TEST_ANCESTRY"
	if os.Getenv(env) != "" {
		tok, err := ProcessToken()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(map[string]any{"token": tok, "owner": Keepalived()})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("said %s\n", raw)
		return
	}
	dir := t.TempDir()
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	keepalived, program := filepath.Join(dir, "keepalived"), filepath.Join(dir, "program")
	if err := os.WriteFile(keepalived, sh, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec "+self+" -test.run='^TestTokensBehindScripts$' -test.v\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfifo", filepath.Join(dir, "gate")).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	cmd := exec.Command(keepalived, "-c", hookScript)
	cmd.Env = append(os.Environ(), env+"=1", "DIR="+dir, "PROGRAM="+program, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type said struct {
		Token Token
		Owner Process
	}
	heard := func(name string) (all []said) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if text, ok := strings.CutPrefix(line, "said "); ok {
				var s said
				if err := json.Unmarshal([]byte(text), &s); err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
		}
		return all
	}
	order := append(append(heard("older"), heard("direct")...), heard("newer")...)
	if len(order) != 5 {
		t.Fatalf("%d programs have reported, want 5: %s", len(order), out)
	}
	for i, s := range order {
		if s.Owner.PID != cmd.Process.Pid {
			t.Errorf("program %d has owner %+v, want pid %d", i, s.Owner, cmd.Process.Pid)
		}
		if i > 0 && s.Token.Compare(order[i-1].Token) <= 0 {
			t.Errorf("program %d has token %v, not newer than %v", i, s.Token, order[i-1].Token)
		}
	}
}

// A hook whose keepalived has exited is distinguished from a command that a person
// types: keepalived asks the kernel to signal its children when it exits.
func TestOrphaned(t *testing.T) {
	if os.Getenv("WANFAIL_TEST_ORPHANED") != "" {
		fmt.Printf("orphaned %v\n", Orphaned())
		return
	}
	// The signal comes when the thread that forked ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOrphaned$", "-test.v")
		cmd.Env = append(os.Environ(), "WANFAIL_TEST_ORPHANED=1", "GORACE=atexit_sleep_ms=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: sig}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if want := fmt.Sprintf("orphaned %v\n", sig == syscall.SIGTERM); !strings.Contains(string(out), want) {
			t.Errorf("death signal %d: want %q in %s", sig, want, out)
		}
	}
}

// A person's requests count from when they are made. The shell that a person or
// ssh starts executes its last command in its own process, which is older than
// all others.
func TestTokensByHand(t *testing.T) {
	const env = "WANFAIL_TEST_BY_HAND"
	if os.Getenv(env) != "" {
		tok, err := ProcessToken()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(tok)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("token %s\n", raw)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := self + " -test.run='^TestTokensByHand$' -test.v"
	for _, script := range []string{
		program + "; " + program,
		program + "; exec " + program,
		program + "; sleep 0.05; exec " + program,
	} {
		for _, shell := range []string{"dash", "bash"} {
			cmd := exec.Command(shell, "-c", script)
			cmd.Env = append(os.Environ(), env+"=1", "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var tokens []Token
			for line := range strings.Lines(string(out)) {
				if text, ok := strings.CutPrefix(line, "token "); ok {
					var tok Token
					if err := json.Unmarshal([]byte(text), &tok); err != nil {
						t.Fatal(err)
					}
					tokens = append(tokens, tok)
				}
			}
			if len(tokens) != 2 || tokens[1].Compare(tokens[0]) <= 0 {
				t.Errorf("%s -c %q: the tokens %v do not ascend", shell, script, tokens)
			}
		}
	}
}
