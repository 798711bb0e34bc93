package userhooks

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// rig is a directory of scripts that write to files in out.
type rig struct {
	t        *testing.T
	dir, out string
	record   rundir.File
	r        *Runner
	log      *logged
	stop     func()
}

type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.String(), text)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	g := &rig{t: t, dir: t.TempDir(), out: t.TempDir(), record: rundir.At(t.TempDir()).Scripts(), log: &logged{}}
	if err := os.Chmod(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g.renew()
	return g
}

// renew makes a Runner as another keeper would.
func (g *rig) renew() {
	g.r = New(g.dir, g.record, slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	g.r.roleDelay = 0
}

func (g *rig) start() {
	ctx, cancel := context.WithCancel(g.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.r.Run(ctx) }()
	g.stop = sync.OnceFunc(func() { cancel(); <-done })
	g.t.Cleanup(g.stop)
}

func (g *rig) script(name, text string, mode os.FileMode) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) await(what string, cond func() bool) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("no %s within 10 s; log:\n%s", what, g.log)
		}
	}
}

func (g *rig) lines(name string) []string {
	b, _ := os.ReadFile(filepath.Join(g.out, name))
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

var wan = config.WAN{Name: "wan", Parent: "eth2", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}

func lease(addr string) *dhcp.Lease {
	return &dhcp.Lease{
		Prefix: netip.MustParsePrefix(addr), Server: netip.MustParseAddr("192.0.2.1"), Gateway: netip.MustParseAddr("192.0.2.1"),
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")}, Domain: "isp.example", MTU: 1492,
		Routes: []dhcp.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1")}, {Dst: netip.MustParsePrefix("10.0.0.0/8")}},
		TTL:    time.Hour, T1: time.Minute, T2: 2 * time.Minute,
	}
}

func TestEventsInOrder(t *testing.T) {
	g := newRig(t)
	g.script("log", fmt.Sprintf("echo \"$1 $WANFAIL_EVENT $WANFAIL_ROLE $WANFAIL_BY|$WANFAIL_WAN $WANFAIL_ADDRESS $WANFAIL_OLD_ADDRESS\" >>%s/log\n", g.out), 0o755)
	g.start()
	g.r.Role(intent.Primary, "keepalived[811] VI_1 MASTER")
	_ = g.r.Publish(t.Context(), wan, lease("192.0.2.7/24"))
	renewed := lease("192.0.2.7/24")
	renewed.Acquired, renewed.TTL = time.Hour, 2*time.Hour
	_ = g.r.Publish(t.Context(), wan, renewed) // no event
	_ = g.r.Publish(t.Context(), wan, lease("192.0.2.8/24"))
	_ = g.r.Withdraw(t.Context(), wan)
	_ = g.r.Withdraw(t.Context(), wan) // no event
	g.r.Role(intent.Backup, "by hand BACKUP")
	want := []string{
		"primary primary primary keepalived[811] VI_1 MASTER| ", "bound bound |wan 192.0.2.7 ",
		"changed changed |wan 192.0.2.8 192.0.2.7", "lost lost |wan  192.0.2.8", "backup backup backup by hand BACKUP| ",
	}
	normal := func() (got []string) {
		for _, l := range g.lines("log") {
			got = append(got, strings.Join(strings.Fields(l), " "))
		}
		return got
	}
	for i := range want {
		want[i] = strings.Join(strings.Fields(want[i]), " ")
	}
	g.await("five events", func() bool { return len(g.lines("log")) >= len(want) })
	if got := normal(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	e := event{name: dhcp.LeaseBound, at: time.Unix(0, 0), wan: wan, lease: lease("192.0.2.7/24")}
	e.lease.Extra = []dhcp.Option{{Code: 125, Data: []byte{0, 0, 0x0d, 0xe9}}, {Code: 43}}
	got := e.environment()
	for _, want := range []string{
		"WANFAIL_EVENT=bound", "WANFAIL_TIME=1970-01-01T00:00:00Z", "WANFAIL_WAN=wan", "WANFAIL_PARENT=eth2", "WANFAIL_MAC=02:00:00:00:00:01",
		"WANFAIL_ADDRESS=192.0.2.7", "WANFAIL_PREFIX=192.0.2.7/24", "WANFAIL_GATEWAY=192.0.2.1", "WANFAIL_SERVER=192.0.2.1",
		"WANFAIL_DNS=192.0.2.53 192.0.2.54", "WANFAIL_DOMAIN=isp.example", "WANFAIL_MTU=1492", "WANFAIL_LEASE_SECONDS=3600",
		"WANFAIL_ROUTES=0.0.0.0/0>192.0.2.1 10.0.0.0/8", "WANFAIL_OPTION_125=00000de9",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "HOME=") || strings.HasPrefix(s, "GO") }) {
		t.Errorf("the keeper's own environment leaks: %q", got)
	}
}

// Scripts of one event run at the same time, and one that hangs is killed with
// its children.
func TestParallelAndLimited(t *testing.T) {
	g := newRig(t)
	g.r.limit = 500 * time.Millisecond
	for _, name := range []string{"a", "b"} { // each needs the other
		g.script(name, fmt.Sprintf("touch %s/%s\nwhile ! [ -e %s/a -a -e %s/b ]; do sleep 0.01; done\necho ok >>%s/met\n", g.out, name, g.out, g.out, g.out), 0o755)
	}
	g.script("hangs", fmt.Sprintf("sh -c 'trap \"\" TERM; while :; do sleep 1; done' &\necho $! >%s/child\necho so far\nsleep 300\n", g.out), 0o755)
	g.script("fails", "echo why; exit 3\n", 0o755)
	g.script("talks", "head -c 100000 /dev/zero | tr '\\0' x\n", 0o755)
	g.start()
	start := time.Now()
	g.r.Role(intent.Primary, "x")
	if took := time.Since(start); took > 50*time.Millisecond {
		t.Errorf("the caller waited %v", took)
	}
	g.await("both", func() bool { return len(g.lines("met")) == 2 })
	g.await("limit", func() bool { return g.log.has("script=hangs") && g.log.has("not done within 500ms") })
	g.await("output", func() bool { return g.log.has("output=\"so far\"") })
	g.await("end of its child", func() bool {
		_, err := os.Stat("/proc/" + g.lines("child")[0])
		return err != nil
	})
	g.await("talk", func() bool { return g.log.has("script=talks") })
	if n := strings.Count(g.log.String(), "xxxxxxxx"); n != shownOutput/8 {
		t.Errorf("%d bytes of a script's output were logged", 8*n)
	}
	g.await("failure", func() bool { return g.log.has("exit status 3") && g.log.has("output=why") })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWhatIsNotRun(t *testing.T) {
	g := newRig(t)
	mark := func(name string) string { return fmt.Sprintf("touch %s/%s.ran\n", g.out, name) }
	for _, name := range []string{".hidden", "old.bak", "x~", "a b", "c.dpkg-old"} {
		g.script(name, mark("bad"), 0o755)
	}
	g.script("noexec", mark("bad"), 0o644)
	g.script("writable", mark("bad"), 0o777)
	g.script("good.sh", mark("good"), 0o755)
	if err := os.Mkdir(filepath.Join(g.dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.r.Role(intent.Backup, "x")
	g.await("good one", func() bool { return g.log.has("script ran") })
	entries, _ := os.ReadDir(g.out)
	if len(entries) != 1 || entries[0].Name() != "good.ran" {
		t.Errorf("ran: %v", entries)
	}
	if !g.log.has("writable belongs to another user or may be written by others") {
		t.Errorf("nothing said about the writable one:\n%s", g.log)
	}
	// A directory that others may write is none to trust at all.
	if err := os.Chmod(g.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if s, err := g.r.scripts(); err == nil || len(s) > 0 {
		t.Errorf("got %v, %v", s, err)
	}
	g.r.dir = filepath.Join(g.dir, "none")
	if s, err := g.r.scripts(); err != nil || len(s) > 0 {
		t.Errorf("no directory: %v, %v", s, err)
	}
}

// Roles wait until the failover is over; a storm is bounded.
func TestPatienceAndBacklog(t *testing.T) {
	g := newRig(t)
	g.r.roleDelay = 200 * time.Millisecond
	g.script("log", fmt.Sprintf("echo $1 >>%s/log\n", g.out), 0o755)
	g.start()
	start := time.Now()
	g.r.Role(intent.Primary, "x")
	g.await("event", func() bool { return g.lines("log")[0] == "primary" })
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("ran after %v", took)
	}
	g.stop()
	for i := range backlog + 10 {
		g.r.Role(intent.Role(i%2), "x")
	}
	if len(g.r.queue) != backlog || !g.log.has("far behind") {
		t.Errorf("queue of %d", len(g.r.queue))
	}
}

// A restarted keeper calls scripts for the events that they were not called for
// before: once, and also for those that an earlier keeper had no time for.
func TestRestart(t *testing.T) {
	g := newRig(t)
	start := func() {
		g.renew()
		g.start()
	}
	start()
	g.r.Role(intent.Backup, "boot")
	g.await("an event without scripts is taken", func() bool {
		g.r.mu.Lock()
		defer g.r.mu.Unlock()
		return len(g.r.queue) == 0
	})
	g.stop()
	if _, err := os.Stat(g.record.String()); err == nil {
		t.Error("no script was called, and the event is recorded")
	}
	g.script("log", fmt.Sprintf("echo $1 $WANFAIL_ADDRESS $WANFAIL_OLD_ADDRESS >>%s/log\n", g.out), 0o755)
	var want []string
	expects := func(what, remembered string, lines ...string) {
		t.Helper()
		want = append(want, lines...)
		g.await(what, func() bool {
			told := loadDelivered(g.record, slog.New(slog.DiscardHandler)).state
			at := ""
			if l := told.Leases["wan"]; l != nil {
				at = " at " + l.Addr().String()
			}
			if l := told.Leases["wan2"]; l != nil {
				at += " and " + l.Addr().String()
			}
			return told.Role+at == remembered
		})
		if got := g.lines("log"); !slices.Equal(got, want) {
			t.Fatalf("%s: got %q, want %q", what, got, want)
		}
	}

	start()
	g.r.Role(intent.Primary, "x")
	_ = g.r.Publish(t.Context(), wan, lease("192.0.2.7/24"))
	expects("first keeper", "primary at 192.0.2.7", "primary", "bound 192.0.2.7")
	g.stop()

	start()
	g.r.Role(intent.Primary, "x")
	renewed := lease("192.0.2.7/24")
	renewed.Acquired, renewed.Search, renewed.Extra = time.Hour, []string{}, []dhcp.Option{}
	_ = g.r.Publish(t.Context(), wan, renewed)
	_ = g.r.Publish(t.Context(), wan, lease("192.0.2.8/24"))
	expects("second keeper: another lease", "primary at 192.0.2.8", "changed 192.0.2.8 192.0.2.7")
	other := wan
	other.Name = "wan2"
	_ = g.r.Publish(t.Context(), other, lease("192.0.2.9/24"))
	expects("a WAN that goes soon", "primary at 192.0.2.8 and 192.0.2.9", "bound 192.0.2.9")
	g.stop()

	g.renew()
	g.r.Only([]config.WAN{wan})
	g.start()
	expects("the configuration has one WAN less", "primary at 192.0.2.8", "lost 192.0.2.9")
	g.r.roleDelay = time.Hour
	g.r.Role(intent.Backup, "x")
	_ = g.r.Withdraw(t.Context(), wan)
	g.stop()

	start()
	g.r.Role(intent.Backup, "x")
	_ = g.r.Withdraw(t.Context(), wan)
	expects("another keeper: what the one before had no time for", "backup", "backup", "lost 192.0.2.8")
	g.stop()

	if err := os.WriteFile(g.record.String(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	start()
	g.r.Role(intent.Backup, "x")
	_ = g.r.Withdraw(t.Context(), wan)
	expects("a record that is lost", "backup", "backup")
}
