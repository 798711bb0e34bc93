package keeper_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// In a container the hooks see a boot_id of the container manager's, and a
// sandboxed keeper the kernel's: a keeper that is restarted finds their record, and
// the remembered lease, all the same.
func TestRestartWithAnotherBootID(t *testing.T) {
	r := newRig(t, false)
	var err error
	if r.dir, err = os.MkdirTemp("/run", "wanfail"); err != nil { // in memory
		t.Fatal(err)
	}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mask := filepath.Join(r.state, "boot_id")
	if err := os.WriteFile(mask, []byte("01234567-89ab-cdef-0123-456789abcdef\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	startKeeper := func() {
		t.Helper()
		cmd := r.command(nil, "keeper")
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args = append([]string{unshare, "--mount", "sh", "-c", "mount --bind " + mask + ` /proc/sys/kernel/random/boot_id && exec "$@"`, "sh"}, cmd.Args...)
		cmd.Path = unshare
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait() }()
		r.eventually("keeper listens", 10*time.Second, func() bool { return r.report() != nil })
	}
	startKeeper()
	if out, err := r.output("primary"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	link, addr, _ := r.holds()
	r.killKeepers()
	startKeeper()
	r.eventually("primary after the restart", 10*time.Second, func() bool { return r.settled(intent.Primary) })
	if again, now, _ := r.holds(); again.Attrs().Index != link.Attrs().Index || now != addr {
		t.Errorf("the WAN was %s on link %d, now %s on %d", addr, link.Attrs().Index, now, again.Attrs().Index)
	}
	if rep := r.report(); rep.Changes != 0 {
		t.Errorf("the restarted keeper changed the role %d times", rep.Changes)
	}
	if _, states, err := intent.ReadIntents(rundir.At(r.dir)); err != nil || len(states) != 0 {
		t.Errorf("states %v, %v", states, err)
	}
}
