package services

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// procd starts a dead daemon again after a while, on a backup too: it is to be
// stopped although no process runs.
func TestInitStopsWhatProcdWouldRestart(t *testing.T) {
	f := newFakeInit(t)
	f.procd("dnsmasq", "")
	check(t, f.converge(true, "dnsmasq")[0], true, "")
	if err := unix.Kill(f.pid("dnsmasq"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for f.alive("dnsmasq") {
		time.Sleep(time.Millisecond)
	}
	if state, err := f.State(t.Context(), "dnsmasq"); err != nil || state != Starting {
		t.Errorf("state %s, %v, want %s", state, err, Starting)
	}
	check(t, f.converge(false, "dnsmasq")[0], true, "")
	if !f.missing("dnsmasq") {
		t.Error("procd still has dnsmasq")
	}
}

// A script whose configuration switches its daemon off is not waited for.
func TestInitOff(t *testing.T) {
	f := newFakeInit(t)
	f.procd("miniupnpd", "OFF=1")
	r := f.converge(true, "miniupnpd")[0]
	check(t, r, false, "switches it off")
	if !errors.Is(r.Err, ErrOff) || r.Took > time.Second {
		t.Errorf("%v after %v, want %v at once", r.Err, r.Took, ErrOff)
	}
	check(t, f.converge(false, "miniupnpd")[0], false, "")
}

// A script may answer `status` in its own way, and then `running` decides.
func TestInitStatusOfItsOwn(t *testing.T) {
	f := newFakeInit(t)
	f.write("rc.own", strings.Replace(rcCommon, "status)", "status) echo fine, thanks; exit 0 ;;\nnever)", 1), 0o644)
	f.write("own", "#!/bin/sh DIR/own.d/rc.common\nUSE_PROCD=1\n", 0o755)
	if err := os.Mkdir(filepath.Join(f.dir, "own.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(f.dir, "rc.own"), filepath.Join(f.dir, "own.d", "rc.common")); err != nil {
		t.Fatal(err)
	}
	check(t, f.converge(false, "own")[0], false, "")
	check(t, f.converge(true, "own")[0], true, "")
	check(t, f.converge(false, "own")[0], true, "")
}

func TestProcdStatus(t *testing.T) {
	for _, c := range []struct {
		code  int
		out   string
		state State
		idle  bool
		known bool
	}{
		{0, "running\n", Running, false, true},
		{0, "running (1/2)\n", Running, false, true},
		{0, "a warning\nrunning\n", Running, false, true},
		{0, "active with no instances\n", Stopped, true, true},
		{3, "inactive\n", Stopped, false, true},
		{5, "not running\n", Starting, false, true},
		{4, "unknown instance *\n", Stopped, false, false},
		{0, "Syntax: /etc/init.d/x [command]\n", Stopped, false, false},
		{1, "running\n", Stopped, false, false},
		{0, "", Stopped, false, false},
	} {
		state, idle, known := procdStatus(c.code, c.out)
		if state != c.state || idle != c.idle || known != c.known {
			t.Errorf("%d %q: %s %v %v", c.code, c.out, state, idle, known)
		}
	}
}
