package command_test

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// keepalived runs something of that name on the router, until the script ends or
// kills it; ! keepalived kills it.
func (r *router) cmdKeepalived(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		r.keepalived()
		return
	}
	sleep, err := exec.LookPath("sleep")
	ts.Check(err)
	program, err := os.ReadFile(sleep)
	ts.Check(err)
	path := filepath.Join(r.work, "keepalived")
	if _, err := os.Stat(path); err != nil {
		ts.Check(os.WriteFile(path, program, 0o755))
	}
	cmd := r.ns.Command(path, "1000")
	ts.Check(cmd.Start())
	r.keepalived = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	ts.Defer(r.keepalived)
}
