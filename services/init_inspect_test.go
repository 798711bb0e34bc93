package services

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInitInspect(t *testing.T) {
	f := newFakeInit(t)
	etc := f.dir
	f.dir = filepath.Join(etc, "init.d")
	for _, dir := range []string{"init.d/run", "rc.d", "rc2.d"} {
		if err := os.MkdirAll(filepath.Join(etc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.write("rc.common", rcCommon, 0o644)
	f.Init.dir = f.dir
	f.procd("keepalived", "")
	f.procd("other", "")
	f.lsb("lsb", "")
	for _, link := range []string{"rc.d/S50keepalived", "rc2.d/S01lsb", "rc.d/K10other", "rc.d/S50another"} {
		if err := os.Symlink("../init.d/x", filepath.Join(etc, link)); err != nil {
			t.Fatal(err)
		}
	}
	inspect := func(name string, want Details, failure string) {
		t.Helper()
		d, err := f.Inspect(t.Context(), name)
		if !strings.HasPrefix(d.Failure, failure) || (d.Failure == "") != (failure == "") {
			t.Errorf("%s: failure %q, want %q", name, d.Failure, failure)
		}
		if d.Failure = ""; err != nil || d != want {
			t.Errorf("%s: %+v, %v; want %+v", name, d, err, want)
		}
	}
	inspect("keepalived", Details{Installed: true, AtBoot: true}, "")
	inspect("other", Details{Installed: true}, "")
	inspect("lsb", Details{Installed: true, AtBoot: true}, "")
	inspect("absent", Details{}, "")
	check(t, f.converge(true, "keepalived")[0], true, "")
	inspect("keepalived", Details{Installed: true, AtBoot: true, State: Running}, "")
	if err := unix.Kill(f.pid("keepalived"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for f.alive("keepalived") {
		time.Sleep(time.Millisecond)
	}
	down := Details{Installed: true, AtBoot: true, State: Starting}
	// What ubus says is procd's own form, service/instance.c of 24.10.
	for answer, failure := range map[string]string{
		`{"keepalived":{"instances":{"instance1":{"running":false,"command":["/usr/sbin/keepalived"],"exit_code":1,"respawn":{"threshold":3600,"timeout":5,"retry":5}}}}}`: "it crashes, and procd starts it again",
		`{"keepalived":{"instances":{"instance1":{"running":false,"command":["/usr/sbin/keepalived"],"exit_code":1}}}}`:                                                    "procd has given it up",
		`?`: "it crashes",
	} {
		f.ubus = filepath.Join(etc, "ubus")
		text := "#!/bin/sh\n[ \"$*\" = 'call service list {\"name\":\"keepalived\"}' ] || exit 1\ncat <<'X'\n" + strings.Repeat("\n", 1000) + answer + "\nX\n"
		if err := os.WriteFile(f.ubus, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		inspect("keepalived", down, failure)
	}
}
