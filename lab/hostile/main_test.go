package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/image"
)

// envBinary names a wanfail to test; without it, the one of this checkout is
// built.
const envBinary = "WANFAIL_BINARY"

func TestMain(m *testing.M) { lab.Main(prepare, m.Run) }

// prepare runs on the computer itself, where the Go toolchain is.
func prepare(ctx context.Context) (lab.Inputs, error) {
	in := lab.Inputs{
		Binary:   os.Getenv(envBinary),
		Progress: func(f float64, what string) { fmt.Fprintf(os.Stderr, "image: %3.0f %% %s\n", f*100, what) },
	}
	if in.Binary != "" {
		return in, nil
	}
	root, err := image.Repository()
	if err != nil {
		return in, err
	}
	cache, err := image.Cache()
	if err != nil {
		return in, err
	}
	in.Binary = filepath.Join(cache, "hostile", "wanfail")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", in.Binary, ".")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return in, fmt.Errorf("build wanfail: %w\n%s", err, out)
	}
	return in, nil
}

// world is a lab under attack.
type world struct {
	*testing.T
	l    *lab.Lab
	ctx  context.Context
	evil *rogue // see server
}

func build(t *testing.T, limit time.Duration) *world {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not within %v", limit))
	t.Cleanup(cancel)
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, l: l, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			w.explain()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i := range 2 {
		out, err := w.l.Router(i).Run(ctx, "journalctl", "--no-pager", "--output=short-precise", "--boot", "-u", "wanfail", "-u", "keepalived")
		w.Logf("log of %s (%v):\n%s", w.l.Router(i).Name, err, out)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// run runs a command on a router to its end, which must be a good one.
func (w *world) run(r *lab.Router, name string, arg ...string) string {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	w.must(err)
	return out
}

// fails runs a command on a router that must fail.
func (w *world) fails(r *lab.Router, name string, arg ...string) string {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	if err == nil {
		w.Errorf("%s: %s %q succeeds:\n%s", r.Name, name, arg, out)
	}
	return out
}

// sh runs a script as a user of a router.
func (w *world) sh(r *lab.Router, user, script string) (string, error) {
	w.Helper()
	return r.Run(w.ctx, "setpriv", "--reuid="+user, "--regid="+user, "--clear-groups", "sh", "-c", script)
}

func (w *world) eventually(what string, cond func() (bool, error)) {
	w.Helper()
	w.must(lab.Eventually(w.ctx, what, cond))
}

// want notes what is not as it should be.
func (w *world) want(ok bool, format string, arg ...any) {
	w.Helper()
	if !ok {
		w.Errorf(format, arg...)
	}
}

// report is what the keeper says.
func (w *world) report(r *lab.Router) (rep control.Report) {
	w.Helper()
	out, _ := r.Run(w.ctx, "wanfail", "status", "--json")
	w.must(json.Unmarshal([]byte(out), &rep))
	w.want(len(rep.WANs) == 1 && rep.PID > 0, "no report of a keeper: %s", out)
	return rep
}

// promote makes a router primary, without a remembered lease, and gives the
// attack time to show.
func (w *world) promote(r *lab.Router) {
	w.Helper()
	_, _ = r.Run(w.ctx, "wanfail", "primary", "--wait", "2s") // it may have no lease
}

// demote makes it backup, and forgets its lease if that is wanted.
func (w *world) demote(r *lab.Router, forget bool) {
	w.Helper()
	w.run(r, "wanfail", "backup")
	if forget {
		w.run(r, "rm", "-f", "/run/wanfail/wan.lease")
	}
}

// wan are the address of the WAN and its routes, as ip(8) prints them.
func (w *world) wan(r *lab.Router) (addr netip.Prefix, routes string) {
	w.Helper()
	addrs, err := r.Addrs("wan")
	w.must(err)
	if len(addrs) > 0 {
		addr = addrs[0]
	}
	routes, _ = r.Run(w.ctx, "ip", "-4", "route", "show", "table", "all", "dev", "wan")
	return addr, routes
}

// reaches tells whether a router sends packets to an address by an interface.
func (w *world) by(r *lab.Router, to netip.Addr) string {
	w.Helper()
	fields := strings.Fields(w.run(r, "ip", "-4", "route", "get", to.String()))
	for i, f := range fields[:len(fields)-1] {
		if f == "dev" {
			return fields[i+1]
		}
	}
	return ""
}

// lanAsBefore checks that neither the LAN nor the peer or its link have moved.
func (w *world) lanAsBefore(r *lab.Router) {
	w.Helper()
	peer := w.l.Router(1).Address()
	for to, want := range map[netip.Addr]string{lab.ClientAddr: "eth1", peer: "eth1", netip.MustParseAddr("10.77.0.3"): "eth3"} {
		if got := w.by(r, to); got != want {
			w.Errorf("packets to %v leave by %q, want %s", to, got, want)
		}
	}
}

// costs is what the keeper has used.
type costs struct {
	cpu time.Duration
	rss int // KiB
}

func (w *world) costs(r *lab.Router) (c costs) {
	w.Helper()
	pid := strings.TrimSpace(w.run(r, "systemctl", "show", "--value", "--property=MainPID", "wanfail"))
	stat, err := r.ReadFile("/proc/" + pid + "/stat")
	w.must(err)
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	for _, f := range fields[11:13] { // utime and stime, in ticks of 10 ms
		n, err := strconv.Atoi(f)
		w.must(err)
		c.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := r.ReadFile("/proc/" + pid + "/status")
	w.must(err)
	_, rest, _ := strings.Cut(status, "VmRSS:")
	c.rss, err = strconv.Atoi(strings.Fields(rest)[0])
	w.must(err)
	return c
}

// bounded runs an attack and checks what it costs the keeper: at most so much of
// a CPU, and memory as always.
func (w *world) bounded(r *lab.Router, share float64, attack func()) {
	w.Helper()
	before, start := w.costs(r), time.Now()
	attack()
	after, took := w.costs(r), time.Since(start)
	used := float64(after.cpu-before.cpu) / float64(took)
	w.Logf("%.0f %% of a CPU for %v, %d -> %d KiB", 100*used, took.Round(time.Millisecond), before.rss, after.rss)
	w.want(used <= share, "it costs %.0f %% of a CPU, more than %.0f", 100*used, 100*share)
	w.want(after.rss < 32<<10, "it costs %d KiB", after.rss)
}
