package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// rcCommon behaves like OpenWrt's for a script with USE_PROCD (rc.common and
// procd.sh of 24.10 and later): start and stop return 0 at once whatever comes of
// them, and so does an unknown verb, with help. The daemon is a sleep; variables of
// the script vary it: BIN is another program, UP the time for which the first
// process is dead until procd starts the next, DOWN how long it takes to end, OFF
// a start_service that finds nothing switched on.
const rcCommon = `initscript=$1
action=${2:-help}
state=DIR/run/$(basename "$initscript")
BIN=sleep UP=0 DOWN=0 OFF=
. "$initscript"
alive() { [ -s "$state" ] && readlink "/proc/$(cat "$state")/exe" >/dev/null; }
case $action in
start)
	alive && exit 0
	[ -z "$OFF" ] || { echo >"$state"; exit 0; }
	(exec $BIN $([ $UP != 0 ] || echo 1000)) >/dev/null 2>&1 &
	echo $! >"$state"
	[ $UP = 0 ] || { sleep $UP; sleep 1000 & echo $! >"$state"; } >/dev/null 2>&1 &
	;;
stop)
	alive || { rm -f "$state"; exit 0; }
	(sleep $DOWN; kill "$(cat "$state")"; rm "$state") >/dev/null 2>&1 &
	;;
running)
	[ "$USE_PROCD" ] || { echo Syntax:; exit 0; }
	alive
	;;
status)
	[ "$USE_PROCD" ] || { echo Syntax:; exit 0; }
	[ -e "$state" ] || { echo inactive; exit 3; }
	[ "$(cat "$state")" ] || { echo active with no instances; exit 0; }
	alive || { echo not running; exit 5; }
	echo running
	;;
*) echo Syntax: ;;
esac
`

// lsb is a Debian style script. The daemon keeps the script's stdout and process
// group, as careless daemons do.
const lsb = `#!/bin/sh
state=DIR/run/NAME
alive() { [ -s "$state" ] && readlink "/proc/$(cat "$state")/exe" >/dev/null; }
case $1 in
start)
	alive && exit 1
	echo Starting NAME
	sleep 1000 &
	echo $! >"$state"
	EXTRA
	;;
stop) alive || exit 1; kill "$(cat "$state")"; rm "$state" ;;
status) alive && exit 0; [ -e "$state" ] && exit 1; exit 3 ;;
*) exit 3 ;;
esac
`

// fakeInit is a directory of init scripts that keep the pids of their daemons in
// run. All that is left is killed when the test ends.
type fakeInit struct {
	*Init
	t   *testing.T
	dir string
}

func newFakeInit(t *testing.T) fakeInit {
	t.Helper()
	f := fakeInit{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(f.dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write("rc.common", rcCommon, 0o644)
	f.Init = NewInit(f.dir, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		pids, _ := filepath.Glob(filepath.Join(f.dir, "run", "*"))
		for _, p := range pids {
			if pid := f.pid(filepath.Base(p)); pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	})
	return f
}

func (f fakeInit) write(name, text string, mode os.FileMode) {
	f.t.Helper()
	text = strings.NewReplacer("DIR", f.dir, "NAME", name).Replace(text)
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
}

func (f fakeInit) procd(name, vars string) {
	f.write(name, "#!/bin/sh DIR/rc.common\nUSE_PROCD=1\n"+vars+"\n", 0o755)
}

func (f fakeInit) lsb(name, extra string) {
	f.write(name, strings.Replace(lsb, "EXTRA", extra, 1), 0o755)
}

func (f fakeInit) pid(name string) int {
	raw, _ := os.ReadFile(filepath.Join(f.dir, "run", name))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	return pid
}

func (f fakeInit) alive(name string) bool {
	pid := f.pid(name)
	return pid > 0 && !isZombie(pid) && unix.Kill(pid, 0) == nil
}

func isZombie(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(raw), ") Z ")
}

func (f fakeInit) converge(up bool, names ...string) []Result {
	return Converge(f.t.Context(), f, names, up, 10*time.Second)
}

// check wants one result, and an error iff problem is not empty.
func check(t *testing.T, r Result, changed bool, problem string) {
	t.Helper()
	if r.Changed != changed {
		t.Errorf("%s: changed = %v, want %v", r.Name, r.Changed, changed)
	}
	switch {
	case problem == "" && r.Err != nil:
		t.Errorf("%s: %v", r.Name, r.Err)
	case problem != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), problem)):
		t.Errorf("%s: error %v, want one with %q", r.Name, r.Err, problem)
	}
}

func TestInitBothDialects(t *testing.T) {
	f := newFakeInit(t)
	f.procd("odhcpd", "")
	f.lsb("dnsmasq", "")
	names := []string{"odhcpd", "dnsmasq"}
	for _, r := range f.converge(true, names...) {
		check(t, r, true, "")
	}
	pids := map[string]int{}
	for _, name := range names {
		if !f.alive(name) {
			t.Errorf("%s does not run", name)
		}
		pids[name] = f.pid(name)
	}
	for _, r := range f.converge(true, names...) {
		check(t, r, false, "")
		if f.pid(r.Name) != pids[r.Name] {
			t.Errorf("%s was restarted", r.Name)
		}
	}
	for _, r := range f.converge(false, names...) {
		check(t, r, true, "")
		if f.alive(r.Name) {
			t.Errorf("%s still runs", r.Name)
		}
	}
	for _, r := range f.converge(false, names...) {
		check(t, r, false, "")
	}
}

// A daemon that died leaves its pid file: status says 1, which is not running.
func TestInitExitedDaemonIsStarted(t *testing.T) {
	f := newFakeInit(t)
	f.lsb("dnsmasq", "")
	check(t, f.converge(true, "dnsmasq")[0], true, "")
	old := f.pid("dnsmasq")
	if err := unix.Kill(old, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for f.alive("dnsmasq") {
		time.Sleep(time.Millisecond)
	}
	check(t, f.converge(true, "dnsmasq")[0], true, "")
	if !f.alive("dnsmasq") || f.pid("dnsmasq") == old {
		t.Error("dnsmasq was not started again")
	}
}

func TestInitWaitsForTheState(t *testing.T) {
	f := newFakeInit(t)
	f.procd("slow", "UP=0.3 DOWN=0.3")
	r := f.converge(true, "slow")[0]
	check(t, r, true, "")
	if r.Took < 300*time.Millisecond || r.Took > 2*time.Second {
		t.Errorf("took %v, want a bit more than 0.3 s", r.Took)
	}
	r = f.converge(false, "slow")[0]
	check(t, r, true, "")
	if r.Took < 300*time.Millisecond || f.alive("slow") {
		t.Errorf("stopped after %v, alive: %v", r.Took, f.alive("slow"))
	}
}

func TestInitBelievesTheStateNotTheExitCode(t *testing.T) {
	f := newFakeInit(t)
	f.startSettle, f.stopSettle = 200*time.Millisecond, 200*time.Millisecond
	f.procd("nobinary", "BIN=DIR/no-such-binary") // start returns 0
	f.lsb("grumpy", "echo cannot write log >&2; exit 1")
	f.lsb("undead", "")
	f.write("undead", "#!/bin/sh\ncase $1 in status) exit 0 ;; stop) exit 0 ;; esac\n", 0o755)
	check(t, f.converge(true, "nobinary")[0], false, "still starting")
	check(t, f.converge(true, "grumpy")[0], true, "")
	if !f.alive("grumpy") {
		t.Error("grumpy does not run")
	}
	check(t, f.converge(false, "undead")[0], false, "still running")
}

func TestInitErrorsCarryWhatTheScriptSaid(t *testing.T) {
	f := newFakeInit(t)
	f.startSettle = 50 * time.Millisecond
	f.write("broken", "#!/bin/sh\n[ $1 = status ] && exit 3\n"+
		"i=0; while [ $i -lt 3000 ]; do echo noise noise noise noise noise; i=$((i+1)); done\n"+
		"printf 'bad option\\033[31m in line 7' >&2; exit 2\n", 0o755)
	f.write("short", "#!/bin/sh\n[ $1 = status ] && exit 3\nprintf 'bad option\\033[31m in line 7' >&2; exit 2\n", 0o755)
	f.write("unknown", "#!/bin/sh\necho status is not to be had; exit 4\n", 0o755)
	r := f.converge(true, "short")[0]
	check(t, r, false, `bad option\x1b[31m in line 7`)
	check(t, r, false, "exit status 2")
	r = f.converge(true, "broken")[0] // fills the file for output, and is none the worse
	check(t, r, false, "exit status 2")
	if n := len(r.Err.Error()); n > 1000 {
		t.Errorf("the error has %d bytes", n)
	}
	check(t, f.converge(true, "unknown")[0], false, "not to be had")
}

func TestInitRefusesScriptsWithoutAState(t *testing.T) {
	f := newFakeInit(t)
	f.write("old", "#!/bin/sh DIR/rc.common\nstart() { :; }\n", 0o755)
	f.write("plain", "#!/bin/sh\necho usage: start stop\n", 0o755)
	f.write("data", "#!/bin/sh\n: status\n", 0o644)
	f.write("binary", "\x7fELF\n\x00 status", 0o755)
	for name, problem := range map[string]string{
		"old": "no USE_PROCD", "plain": "no verb `status`", "data": "no executable", "absent": "not installed",
		"run": "no executable", "../init.d/x": "service name", "binary": "exec format error",
	} {
		check(t, f.converge(true, name)[0], false, problem)
	}
	for name, want := range map[string]bool{"absent": false, "plain": false} {
		there, err := f.Installed(t.Context(), name)
		if there != want || (name == "absent") != (err == nil) {
			t.Errorf("Installed(%s) = %v, %v", name, there, err)
		}
	}
}

// A script that hangs is killed with what it started, and holds up no other.
func TestInitHangingScript(t *testing.T) {
	f := newFakeInit(t)
	f.write("hangs", `#!/bin/sh
trap '' TERM
case $1 in
status) exit 3 ;;
start) sh -c 'trap "" TERM; echo $$ >DIR/run/child; echo waiting for godot; while :; do sleep 1; done' & wait; wait; sleep 1000 ;;
esac
`, 0o755)
	f.lsb("dnsmasq", "")
	start := time.Now()
	results := Converge(t.Context(), f, []string{"hangs", "dnsmasq", "hangs"}, true, 500*time.Millisecond)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if len(results) != 2 || results[0].Name != "hangs" || results[1].Name != "dnsmasq" {
		t.Fatalf("results %v", results)
	}
	check(t, results[0], false, "not running within 500ms")
	check(t, results[0], false, "waiting for godot")
	check(t, results[1], true, "")
	if results[1].Took > 400*time.Millisecond {
		t.Errorf("dnsmasq took %v", results[1].Took)
	}
	awaitGone(t, f.pid("child"))
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	if pid == 0 {
		t.Fatal("no pid")
	}
	for end := time.Now().Add(2 * time.Second); unix.Kill(pid, 0) == nil && !isZombie(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// A newer intent ends the work at once, and says why.
func TestInitCancelled(t *testing.T) {
	f := newFakeInit(t)
	f.write("hangs", "#!/bin/sh\ncase $1 in status) exit 3 ;; start) : >DIR/run/started; exec sleep 1000 ;; esac\n", 0o755)
	newer := errors.New("a newer intent")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan Result)
	go func() { done <- Converge(ctx, f, []string{"hangs"}, true, time.Minute)[0] }()
	for f.missing("started") {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	cancel(newer)
	r := <-done
	if took := time.Since(start); took > 300*time.Millisecond {
		t.Errorf("ended %v after the cancellation", took)
	}
	if !errors.Is(r.Err, newer) || r.Changed {
		t.Errorf("result %+v", r)
	}
}

func (f fakeInit) missing(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, "run", name))
	return err != nil
}

// The daemon gets none of our files, none of our environment, and a bounded
// output that never blocks or kills it.
func TestInitDaemonsInheritNothing(t *testing.T) {
	t.Setenv("NAME", "VI_1")
	// As if keepalived had left it open for us: no close-on-exec.
	leaked, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	f := newFakeInit(t)
	f.lsb("d", "")
	f.write("d", strings.Replace(lsb, "EXTRA", `ls -l /proc/$!/fd >DIR/run/fds; env >DIR/run/env; cat >DIR/run/stdin`, 1), 0o755)
	check(t, f.converge(true, "d")[0], true, "")
	env, err := os.ReadFile(filepath.Join(f.dir, "run", "env"))
	if err != nil || strings.Contains(string(env), "VI_1") || !strings.Contains(string(env), "PATH=") {
		t.Errorf("environment %q, %v", env, err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", f.pid("d")))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", f.pid("d"), e.Name()))
		if n, _ := strconv.Atoi(e.Name()); n > 2 || strings.HasPrefix(to, "pipe:") {
			t.Errorf("the daemon holds descriptor %s: %s", e.Name(), to)
		}
	}
	if stdin, err := os.ReadFile(filepath.Join(f.dir, "run", "stdin")); err != nil || len(stdin) > 0 {
		t.Errorf("stdin gave %q, %v", stdin, err)
	}
}

// A daemon may go on to write to the output that it kept: not for ever, and
// without harm to it.
func TestInitOutputIsBounded(t *testing.T) {
	f := newFakeInit(t)
	f.lsb("chatty", "")
	f.write("chatty", strings.Replace(lsb, "sleep 1000 &",
		"sh -c 'for i in 1 2 3 4 5 6 7 8 9; do head -c 20000 /dev/zero; done; echo $? >DIR/run/wrote; exec sleep 1000' &", 1), 0o755)
	check(t, f.converge(true, "chatty")[0], true, "")
	for end := time.Now().Add(5 * time.Second); f.missing("wrote"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the daemon is blocked, or was killed by its own output")
		}
	}
	if !f.alive("chatty") {
		t.Error("the daemon does not run")
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d/fd/1", f.pid("chatty")))
	if err != nil || info.Size() > 64<<10 {
		t.Errorf("output file: %v, %v", info, err)
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"dnsmasq", "a", "8021x", "openvpn@office", "dnsmasq.service", "miniupnpd_2", "x:y-z"} {
		if err := ValidName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", ".hidden", "-x", "--help", "_x", "a/b", "/bin/sh", "a b", "a\n", "a\x00", "a;reboot",
		"a$b", "a'b", `a"b`, `a\b`, "dnsmäsq", strings.Repeat("a", 129),
	} {
		if ValidName(name) == nil {
			t.Errorf("%q is valid", name)
		}
	}
}

func TestDetect(t *testing.T) {
	detect := func() string {
		m, err := Detect(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		return m.Backend()
	}
	if got := detect(); got != "init" { // nstest has emptied /run
		t.Errorf("without systemd: %s", got)
	}
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll("/run/systemd")
	want := "init"
	if detectsSystemd {
		want = "systemd"
	}
	if got := detect(); got != want {
		t.Errorf("with systemd: %s, want %s", got, want)
	}
}

// A daemon that dies of its configuration is alive when its script returns.
func TestInitDiesAtOnce(t *testing.T) {
	f := newFakeInit(t)
	// Stopped at first; after the start it runs for one look.
	f.write("dies", "#!/bin/sh\ncase $1 in\nstart) echo >DIR/run/started ;;\nstop) ;;\nstatus)\n"+
		"\t[ -e DIR/run/started ] || exit 3\n\t[ -e DIR/run/looked ] && exit 1\n\techo >DIR/run/looked ;;\nesac\n", 0o755)
	f.startSettle = 100 * time.Millisecond
	check(t, f.converge(true, "dies")[0], false, "still stopped")
}
