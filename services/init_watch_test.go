package services

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Whoever runs a script is noticed when it has ended, and this manager itself is
// not, whatever it does.
func TestInitWatch(t *testing.T) {
	f := newFakeInit(t)
	f.procd("odhcpd", "")
	f.lsb("dnsmasq", "")
	f.lsb("other", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := f.Watch(ctx, []string{"odhcpd", "dnsmasq", "missing"})
	if err != nil {
		t.Fatal(err)
	}
	silent := func(what string) {
		t.Helper()
		select {
		case name := <-changes:
			t.Errorf("%s: told of %s", what, name)
		case <-time.After(2 * watchPause): // there is no event for one that does not come
		}
	}
	run := func(name, verb string) {
		t.Helper()
		_ = exec.Command(filepath.Join(f.dir, name), verb).Run()
	}
	// told may come again: the file is closed once more by a child of the script.
	told := func(name string) {
		t.Helper()
		times := 0
		for limit := time.After(5 * time.Second); ; {
			select {
			case got := <-changes:
				if times++; got != name {
					t.Errorf("told of %s, want %s", got, name)
				}
				limit = time.After(2 * watchPause)
			case <-limit:
				if times < 1 || times > 3 {
					t.Errorf("told %d times of %s", times, name)
				}
				return
			}
		}
	}
	f.converge(true, "odhcpd", "dnsmasq")
	for range 10 {
		if _, err := f.State(t.Context(), "dnsmasq"); err != nil {
			t.Fatal(err)
		}
	}
	f.converge(false, "odhcpd", "dnsmasq")
	silent("this manager")
	run("other", "status")
	silent("another service")
	run("dnsmasq", "start")
	told("dnsmasq")
	run("odhcpd", "start")
	told("odhcpd")
	f.converge(false, "odhcpd", "dnsmasq")
	silent("what was found is stopped")
	// An upgrade replaces the script.
	f.lsb("missing", "")
	run("missing", "start")
	told("missing")
	f.converge(false, "missing")
	cancel()
	for range changes { // closed
	}
}

func TestInitWatchWithoutScripts(t *testing.T) {
	f := newFakeInit(t)
	f.Init.dir = filepath.Join(f.dir, "nowhere")
	if _, err := f.Watch(t.Context(), []string{"dnsmasq"}); err == nil {
		t.Error("a directory that is not there is watched")
	}
}
