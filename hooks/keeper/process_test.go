package keeper_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/wanfail/wanfail/hooks/intent"
)

// process starts one that stands for keepalived, and returns how to kill it.
func (w *world) process() (p intent.Process, kill func()) {
	w.t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	p.PID = cmd.Process.Pid
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if _, err := fmt.Sscan(fields[19], &p.Start); err != nil {
		w.t.Fatal(err)
	}
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	w.t.Cleanup(kill)
	return p, kill
}
