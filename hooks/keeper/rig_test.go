package keeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// rig is a world in which the built program runs, with init scripts for
// services: everything is a process of its own and can be killed.
type rig struct {
	*world
	binary string
	state  string // of the services
	log    *os.File
	why    string // what settled found last
}

// rigServices are the names of the rig's init scripts.
var rigServices = []string{"alpha", "beta"}

// newRig builds the program, with the build tag killtest if steps is set.
func newRig(t *testing.T, steps bool, wanLines ...string) *rig {
	t.Helper()
	r := &rig{binary: filepath.Join(t.TempDir(), "wanfail"), state: t.TempDir()}
	tags := "urfave_cli_no_docs"
	if steps {
		tags += ",killtest"
	}
	build := exec.Command("go", "build", "-tags", tags, "-o", r.binary, "github.com/wanfail/wanfail")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build wanfail: %v: %s", err, out)
	}
	r.world = newWorld(t)
	// What the hooks log must not reach this computer's syslog.
	if _, err := os.Stat("/dev/log"); err == nil {
		if err := unix.Mount("/dev/null", "/dev/log", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount("/dev/log", unix.MNT_DETACH) })
	}
	r.installServices()
	conf := "config wanfail\n"
	for _, s := range rigServices {
		conf += " list service " + s + "\n"
	}
	conf += fmt.Sprintf("config wan %s\n option parent %s\n option macaddr %s\n option peerdns 0\n", wanName, port, mac)
	for _, l := range wanLines {
		conf += l + "\n"
	}
	if err := os.WriteFile(r.conf(), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.killKeepers()
		_ = r.log.Close()
		if t.Failed() {
			t.Logf("missing at the end: %s", r.why)
			b, _ := os.ReadFile(r.log.Name())
			t.Logf("the processes said:\n%s", b[max(0, len(b)-20000):])
		}
	})
	return r
}

func (r *rig) conf() string { return filepath.Join(r.state, "wanfail.conf") }

// service is an init script whose daemon holds a lock for as long as it lives,
// as a real one holds its port: there is never a second one.
const service = `#!/bin/sh
# status
state=%[1]s/%[2]s
alive() { ! flock --shared -n $state.lock true; }
case $1 in
start)
	alive && exit 0
	setsid -f flock -w 0.2 $state.lock sh -c "echo \$\$ >$state.pid; exec sleep 100000" </dev/null >/dev/null 2>&1
	;;
stop)
	# A daemon that has just started may not have written its process id yet.
	for try in 1 2 3 4 5 6 7 8 9 10; do
		alive || exit 0
		kill $(cat $state.pid)
		flock --shared -w 0.5 $state.lock true && exit 0
	done
	exit 1
	;;
status)
	alive || exit 3
	;;
esac
`

// installServices covers /etc/init.d, for this test binary alone.
func (r *rig) installServices() {
	r.t.Helper()
	dir := r.t.TempDir()
	for _, name := range rigServices {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, service, r.state, name), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := unix.Mount(dir, "/etc/init.d", "", unix.MS_BIND, ""); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		for _, name := range rigServices {
			_ = exec.Command("/etc/init.d/"+name, "stop").Run()
		}
		_ = unix.Unmount("/etc/init.d", unix.MNT_DETACH)
	})
}

// serviceRuns asks the script.
func (r *rig) serviceRuns(name string) bool {
	return exec.Command("/etc/init.d/"+name, "status").Run() == nil
}

// command prepares the program.
func (r *rig) command(env []string, arg ...string) *exec.Cmd {
	cmd := exec.Command(r.binary, append([]string{"--config", r.conf(), "--run-dir", r.dir, "--log-level", "debug"}, arg...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	// A hook that is killed at once must not hold up the test: no pipes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// startKeeper starts a keeper and waits until it listens or has died.
func (r *rig) startKeeper(env ...string) (cmd *exec.Cmd, died <-chan struct{}) {
	r.t.Helper()
	cmd = r.command(env, "keeper")
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ch := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ch)
	}()
	r.eventually("keeper listens", 10*time.Second, func() bool {
		select {
		case <-ch:
			return true
		default:
		}
		conn, err := control.Dial(context.Background(), rundir.At(r.dir))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return cmd, ch
}

// keepers are the process ids of all keepers in this test binary's own PID
// namespace, whoever started them.
func (r *rig) keepers() (pids []int) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range dirs {
		line, err := os.ReadFile(d + "/cmdline")
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if err != nil || args[0] != r.binary || args[len(args)-1] != "keeper" || !strings.Contains(string(line), r.dir) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(d))
		pids = append(pids, pid)
	}
	return pids
}

// killKeepers returns when those that were there have ended.
func (r *rig) killKeepers() {
	for _, pid := range r.keepers() {
		// Polls readable when the process has closed everything that it had open.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		_ = unix.Close(fd)
	}
}

// record stores an intent as a hook does, without being one.
func (r *rig) record(i intent.Intent) {
	r.t.Helper()
	store, err := intent.OpenStore(rundir.At(r.dir))
	if err != nil {
		r.t.Fatal(err)
	}
	if newer, err := store.Record(i, intent.RecordLimit); err != nil || newer != nil {
		r.t.Fatalf("record: %v, newer: %v", err, newer)
	}
}

// report asks the keeper for its status, nil if there is none.
func (r *rig) report() *control.Report {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := control.Dial(ctx, rundir.At(r.dir))
	if err != nil {
		return nil
	}
	defer conn.Close()
	var rep control.Report
	if conn.Ask(ctx, control.Request{Op: control.OpStatus}, &rep) != nil {
		return nil
	}
	return &rep
}

// is reports whether kernel and services are as a role wants.
func (r *rig) is(role intent.Role) bool { return r.lacks(role) == "" }

// lacks says what of a role is missing, nothing if it is reached.
func (r *rig) lacks(role intent.Role) string {
	link, addr, up := r.holds()
	links := len(r.links())
	switch {
	case role == intent.Primary && (!up || links != 1):
		return fmt.Sprintf("%d links, %v with address %q, complete %v", links, link, addr, up)
	case role == intent.Backup && links != 0:
		return fmt.Sprintf("%d links", links)
	}
	for _, s := range rigServices {
		if runs := r.serviceRuns(s); runs != (role == intent.Primary) {
			return fmt.Sprintf("%s runs: %v", s, runs)
		}
	}
	return ""
}

// settled reports whether a keeper says that the role is reached, and it is.
func (r *rig) settled(role intent.Role) bool {
	rep := r.report()
	r.why = r.disputes(rep, role)
	if r.why == "" {
		r.why = r.lacks(role)
	}
	return r.why == ""
}

// disputes says what a keeper's report has to say against a role.
func (r *rig) disputes(rep *control.Report, role intent.Role) string {
	switch {
	case rep == nil:
		return "no keeper answers"
	case rep.Role != role || len(rep.WANs) != 1 || len(rep.Transitions) == 0:
		return fmt.Sprintf("the keeper is %s, %d transitions", rep.Role, len(rep.Transitions))
	case role == intent.Primary && rep.WANs[0].State != "bound":
		return "the WAN is " + rep.WANs[0].State
	}
	last := rep.Transitions[len(rep.Transitions)-1]
	if last.Role != role || slices.Contains(last.Problems, "superseded before it was complete") {
		return fmt.Sprintf("the last transition is %+v", last)
	}
	return ""
}

// stateOf describes everything that a transition changes: of the kernel, of the
// services and of the run directory.
func (r *rig) stateOf() string {
	r.t.Helper()
	var b strings.Builder
	run := func(name string, arg ...string) {
		out, err := exec.Command(name, arg...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			r.t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s %s\n%s\n", name, strings.Join(arg, " "), out)
	}
	fmt.Fprintf(&b, "# links\n%s\n", ipJSON(r.t, "link", "show"))
	fmt.Fprintf(&b, "# addresses\n%s\n", ipJSON(r.t, "-4", "address", "show"))
	fmt.Fprintf(&b, "# routes\n%s\n", ipJSON(r.t, "-4", "route", "show", "table", "all"))
	for _, dev := range []string{wanName, port} {
		for _, f := range []string{"ipv4/conf/%s/arp_ignore", "ipv4/conf/%s/promote_secondaries", "ipv6/conf/%s/disable_ipv6", "ipv6/conf/%s/addr_gen_mode"} {
			path := "/proc/sys/net/" + fmt.Sprintf(f, dev)
			v, _ := os.ReadFile(path)
			fmt.Fprintf(&b, "%s = %s\n", path, bytes.TrimSpace(v))
		}
	}
	for _, s := range rigServices {
		run("/etc/init.d/"+s, "status")
		fmt.Fprintf(&b, "%s runs: %v\n", s, r.serviceRuns(s))
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "file %s\n", e.Name())
	}
	return b.String()
}

// volatile are the fields of iproute2's JSON that differ from run to run without
// a meaning.
var volatile = []string{"ifindex", "link_index", "valid_life_time", "preferred_life_time", "dynamic", "promiscuity", "link_netnsid"}

// ipJSON lists objects without what is volatile.
func ipJSON(t *testing.T, arg ...string) string {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"-json", "-details"}, arg...)...).Output()
	if err != nil {
		t.Fatalf("ip %q: %v", arg, err)
	}
	var v []map[string]any
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("ip %q: %v", arg, err)
	}
	var lines []string
	for _, o := range v {
		strip(o)
		line, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, f := range volatile {
			delete(v, f)
		}
		for _, inner := range v {
			strip(inner)
		}
	case []any:
		for _, inner := range v {
			strip(inner)
		}
	}
}

// waitAll waits for processes to end.
func waitAll(cmds []*exec.Cmd) {
	var all sync.WaitGroup
	for _, c := range cmds {
		all.Go(func() { _ = c.Wait() })
	}
	all.Wait()
}
