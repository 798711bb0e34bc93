package command_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/lab/nstest"
	"github.com/wanfail/wanfail/services/conntrackd"
)

// install puts this binary where it is the program, and returns the directory.
func install(t *testing.T) string {
	t.Helper()
	// Below /run, which is this test's own and open to those who are not root.
	dir, err := os.MkdirTemp("/run", "bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// While a program is open for writing it cannot be started: no fork may happen now,
	// or the child would have it open, too, for a moment.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(filepath.Join(dir, "wanfail"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, self); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// coverInit gives all routers one init script, of a service "sleeper", whose
// state is a file for each network namespace.
func coverInit(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\n# start stop status\nf=/run/sleeper.$(readlink /proc/self/ns/net)\ncase $1 in\nstart) touch $f;;\nstop) rm -f $f;;\nstatus) [ -e $f ] || exit 3;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "sleeper"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, dir, "/etc/init.d", unix.MS_BIND, "")
}

// coverConntrackd hides this computer's conntrackd.
func coverConntrackd(t *testing.T) {
	t.Helper()
	dir := filepath.Dir(conntrackd.ConfigFile)
	if _, err := os.Stat(dir); err == nil {
		mount(t, "tmpfs", dir, 0, "")
	}
}

// coverHooks gives all routers one user script, which notes the events that it
// hears in a file for each network namespace.
func coverHooks(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "etc")
	if err != nil {
		t.Fatal(err)
	}
	hooksDir := filepath.Join(dir, "upper/wanfail/hooks.d")
	for _, d := range []string{hooksDir, filepath.Join(dir, "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := "#!/bin/sh\necho $1 >>/run/heard.$(readlink /proc/self/ns/net)\n"
	if err := os.WriteFile(filepath.Join(hooksDir, "note"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, "overlay", "/etc", 0, fmt.Sprintf("lowerdir=/etc,upperdir=%[1]s/upper,workdir=%[1]s/work", dir))
}

func mount(t testing.TB, source, target string, flags uintptr, data string) {
	t.Helper()
	kind := ""
	if source == "tmpfs" || source == "overlay" {
		kind = source
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

// syslogd collects what programs of this test say to syslog(3).
type syslogd struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func startSyslog(t *testing.T) *syslogd {
	t.Helper()
	// The computer's own must not log the tests: /run is covered already, and
	// /dev/log, where it is more than a link into it, is covered here.
	path := "/run/syslog"
	if to, err := os.Readlink("/dev/log"); err == nil {
		if path = to; !filepath.IsAbs(path) {
			path = filepath.Join("/dev", path)
		}
	} else if _, err := os.Lstat("/dev/log"); err == nil {
		path = filepath.Join(t.TempDir(), "log")
		defer func() { mount(t, path, "/dev/log", unix.MS_BIND, "") }()
	} else if to, err := os.Readlink("/var/run"); err != nil || (to != "/run" && to != "../run") {
		t.Fatalf("/var/run is %q, %v: no place for a syslog socket", to, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(path, 0o666)
	t.Cleanup(func() { _ = conn.Close() })
	s := &syslogd{}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.text.Write(append(buf[:n:n], '\n'))
			s.mu.Unlock()
		}
	}()
	return s
}

// router is where a script runs.
type router struct {
	t       *testing.T
	ns      *nstest.NS
	binary  string
	work    string
	log     *syslogd
	before  string     // see unchanged
	changes func() int // see monitor
	stop    func()     // ends the keeper
	watched *lines
	sent    uint64 // see frames
	counted bool
	locked  *os.File // see flock

	keepalived func() // ends what stands for it
}

type routerKey struct{}

func on(f func(*router, *testscript.TestScript, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		f(ts.Value(routerKey{}).(*router), ts, neg, args)
	}
}

const config = `config wanfail
	list service sleeper
config wan wan
	option parent eth2
	option macaddr 02:68:71:2e:62:67
`

func newRouter(t *testing.T, e *testscript.Env, binary string, log *syslogd) *router {
	r := &router{t: t, ns: nstest.New(t), binary: binary, work: e.WorkDir, log: log}
	r.do(func() error {
		// Or the kernel goes on changing addresses for some seconds.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644); err != nil {
			return err
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth2"}, PeerName: "isp0"}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		peer, err := netlink.LinkByName("isp0")
		if err != nil {
			return err
		}
		if err := errors.Join(netlink.LinkSetUp(veth), netlink.LinkSetUp(peer)); err != nil {
			return err
		}
		// The kernel's link watch follows, up to a second later.
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			a, aErr := netlink.LinkByName("eth2")
			b, bErr := netlink.LinkByName("isp0")
			if err := errors.Join(aErr, bErr); err != nil {
				return err
			}
			if a.Attrs().OperState == netlink.OperUp && b.Attrs().OperState == netlink.OperUp {
				return nil
			}
		}
		return errors.New("eth2 does not come up")
	})
	r.do(func() error {
		id, err := os.Readlink("/proc/thread-self/ns/net")
		e.Setenv("SLEEPER", "/run/sleeper."+id)
		e.Setenv("HEARD", "/run/heard."+id)
		return err
	})
	e.Setenv("RUN", filepath.Join(e.WorkDir, "run"))
	if err := os.WriteFile(filepath.Join(e.WorkDir, "wanfail.conf"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(e.WorkDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *router) do(f func() error) { r.ns.Do(r.t, f) }

// command prepares the program with the script's environment and the settings
// that all scripts share; a script's own flags come later and win.
func (r *router) command(ts *testscript.TestScript, args []string) *exec.Cmd {
	all := append([]string{"--config", ts.MkAbs("wanfail.conf"), "--run-dir", ts.Getenv("RUN")}, args...)
	cmd := exec.Command(r.binary, all...)
	if mask := ts.Getenv("UMASK"); mask != "" {
		cmd = exec.Command("/bin/sh", append([]string{"-c", `umask $0; exec "$@"`, mask, r.binary}, all...)...)
	}
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NO_COLOR="+ts.Getenv("NO_COLOR"))
	return cmd
}

// wanfail CODE ARGS...
func (r *router) cmdWanfail(ts *testscript.TestScript, neg bool, args []string) { r.run(ts, args, nil) }

// as-nobody CODE ARGS... runs without any privilege.
func (r *router) cmdAsNobody(ts *testscript.TestScript, neg bool, args []string) {
	r.run(ts, args, &syscall.Credential{Uid: 65534, Gid: 65534})
}

func (r *router) run(ts *testscript.TestScript, args []string, who *syscall.Credential) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := r.command(ts, args[1:])
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	start := time.Now()
	r.do(func() error { // a child of a thread in the namespace is in it
		err = cmd.Run()
		return nil
	})
	if took := time.Since(start); took > 20*time.Second {
		ts.Fatalf("took %v", took)
	}
	if cmd.ProcessState == nil {
		ts.Fatalf("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// keeper runs one in the background until the script ends.
func (r *router) cmdKeeper(ts *testscript.TestScript, neg bool, args []string) {
	cmd := r.command(ts, append(args, "keeper"))
	var out bytes.Buffer
	cmd.Stderr = &out
	r.do(cmd.Start)
	r.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			ts.Logf("keeper: %v", err)
		}
		ts.Logf("keeper said:\n%s", out.String())
	})
	ts.Defer(r.stop)
	r.await(ts, "a keeper", func() bool {
		conn, err := control.Dial(r.t.Context(), rundir.At(ts.Getenv("RUN")))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (r *router) await(ts *testscript.TestScript, what string, cond func() bool) {
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("no %s within 10 s", what)
		}
	}
}

// garbage TEXT listens like a keeper and answers each line with TEXT.
func (r *router) cmdGarbage(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(os.MkdirAll(ts.Getenv("RUN"), 0o755))
	l, err := net.Listen("unix", filepath.Join(ts.Getenv("RUN"), rundir.SocketFile))
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, args[0]+"\n")
			_ = c.Close()
		}
	}()
}

// ip ARGS... is ip(8) on the router.
func (r *router) cmdIP(ts *testscript.TestScript, neg bool, args []string) {
	out, err := r.ns.Command("ip", args...).CombinedOutput()
	_, _ = ts.Stdout().Write(out)
	if (err != nil) != neg {
		ts.Fatalf("ip %q: %v", args, err)
	}
}

// unchanged compares links, addresses, routes and the run directory with what
// they were when it was called last.
func (r *router) cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	var b strings.Builder
	for _, what := range []string{"link", "addr", "route"} {
		out, err := r.ns.Command("ip", what).CombinedOutput()
		ts.Check(err)
		// The lifetimes pass, and so does the count of references.
		b.Write(regexp.MustCompile(`valid_lft \w+`).ReplaceAll(out, nil))
	}
	_ = filepath.Walk(ts.Getenv("RUN"), func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		}
		return nil
	})
	_, err := os.Stat(ts.Getenv("SLEEPER"))
	fmt.Fprintln(&b, "sleeper", err)
	if r.before != "" && r.before != b.String() {
		ts.Fatalf("changed from\n%s\nto\n%s", r.before, b.String())
	}
	r.before = b.String()
}

// monitor starts to listen to the kernel, and at the next call fails if anything
// was changed meanwhile, even if it was changed back.
func (r *router) cmdMonitor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 && args[0] == "start" {
		done := make(chan struct{})
		ts.Defer(sync.OnceFunc(func() { close(done) }))
		ns := netns.NsHandle(r.ns.FD())
		links, addrs, routes := make(chan netlink.LinkUpdate, 100), make(chan netlink.AddrUpdate, 100), make(chan netlink.RouteUpdate, 100)
		ts.Check(netlink.LinkSubscribeAt(ns, links, done))
		ts.Check(netlink.AddrSubscribeAt(ns, addrs, done))
		ts.Check(netlink.RouteSubscribeAt(ns, routes, done))
		r.changes = func() int { return len(links) + len(addrs) + len(routes) }
		return
	}
	// The kernel has queued what it had to say before the program's end.
	time.Sleep(50 * time.Millisecond)
	if n := r.changes(); (n > 0) != neg {
		ts.Fatalf("%d changes in the kernel", n)
	}
}

// tmpfs OPTIONS mounts one on the run directory.
func (r *router) cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.Getenv("RUN")
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,"+args[0]))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// readonly makes the run directory so.
func (r *router) cmdReadonly(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.Getenv("RUN")
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ts.Check(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

// syslog REGEXP waits until a line has been logged.
func (r *router) cmdSyslog(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	r.await(ts, "line in syslog like "+args[0], func() bool {
		r.log.mu.Lock()
		defer r.log.mu.Unlock()
		return re.Match(r.log.text.Bytes())
	})
}

// heard EVENT... waits until the user script was called for so many events, and
// that is recorded, and compares. The last one is a role. Each takes a second:
// scripts wait for the failover to be over.
func (r *router) cmdHeard(ts *testscript.TestScript, neg bool, args []string) {
	var got []string
	r.await(ts, "so many events", func() bool {
		raw, _ := os.ReadFile(ts.Getenv("HEARD"))
		got = strings.Fields(string(raw))
		told, _ := os.ReadFile(rundir.At(ts.Getenv("RUN")).Scripts().String())
		return len(got) >= len(args) && strings.Contains(string(told), `"role":"`+args[len(args)-1]+`"`)
	})
	if !slices.Equal(got, args) {
		ts.Fatalf("heard %q, want %q", got, args)
	}
}

// await CODE REGEXP ARGS... runs the program until its output has what is
// awaited.
func (r *router) cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	var out []byte
	r.await(ts, "output like "+args[0], func() bool {
		cmd := r.command(ts, args[1:])
		r.do(func() error { out, _ = cmd.CombinedOutput(); return nil })
		return re.Match(out)
	})
	_, _ = ts.Stdout().Write(out)
}
