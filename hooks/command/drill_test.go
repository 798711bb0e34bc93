package command_test

import (
	"os"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
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
