// Package deb installs the Debian package on routers that run systemd, takes
// them through what happens to a package, and looks whether its users notice.
package deb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/image"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

func TestMain(m *testing.M) { lab.Main(prepare, m.Run) }

// The two releases that are installed, and where `make deb` puts them, below the
// checkout.
const (
	older, newer = "1.0.0", "1.1.0"
	built        = "build/lab-deb"
)

// prepare makes the packages, on the computer itself.
func prepare(ctx context.Context) (lab.Inputs, error) {
	in := lab.Inputs{Progress: func(f float64, what string) {
		fmt.Fprintf(os.Stderr, "image: %3.0f %% %s\n", f*100, what)
	}}
	root, err := image.Repository()
	if err != nil {
		return in, err
	}
	target := "packages-deb-" + runtime.GOARCH
	for _, command := range [][]string{
		{"make", "-s", target, "VERSION=v" + older, "PACKAGES_DIR=" + built + "/" + older, "DIST=" + built},
		{"make", "-s", target, "VERSION=v" + newer, "PACKAGES_DIR=" + built + "/" + newer, "DIST=" + built},
		{"go", "build", "-o", built + "/probe", "./lab/deb/probe"},
		{"go", "test", "-c", "-tags", "systemd_e2e", "-o", built + "/services", "./services/e2e"},
	} {
		build := exec.CommandContext(ctx, command[0], command[1:]...)
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return in, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return in, nil
}

// world is a lab whose routers have no wanfail yet.
type world struct {
	*testing.T
	l   *lab.Lab
	ctx context.Context
}

func build(t *testing.T, limit time.Duration) *world {
	t.Helper()
	return buildWith(t, limit, lab.Options{Scheme: lab.NoScheme, Conntrackd: true})
}

func buildWith(t *testing.T, limit time.Duration, o lab.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not within %v", limit))
	t.Cleanup(cancel)
	l, err := lab.New(ctx, o)
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

// explain prints the routers' logs. The test's context may be what has ended.
func (w *world) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i := range 2 {
		if r := w.l.Router(i); r.On() {
			log, err := r.Log(ctx)
			w.Logf("log of %s (%v):\n%s", r.Name, err, log)
		}
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(what string, cond func() (bool, error)) {
	w.Helper()
	w.must(lab.Eventually(w.ctx, what, cond))
}

// run runs a command that must succeed.
func (w *world) run(r *lab.Router, name string, arg ...string) string {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	w.must(err)
	return strings.TrimSpace(out)
}

// says runs a command and returns what it says, however it ends.
func (w *world) says(r *lab.Router, name string, arg ...string) string {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	if exit := (*lab.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// install installs a release, as `apt install ./FILE` does once it has the
// dependencies.
func (w *world) install(r *lab.Router, version string) {
	w.Helper()
	name := fmt.Sprintf("wanfail_%s_%s.deb", version, runtime.GOARCH)
	b, err := os.ReadFile(filepath.Join(sandbox.RepoDir, built, name))
	w.must(err)
	w.must(r.WriteFile("/var/tmp/"+name, string(b), 0o644))
	w.Logf("%s: %s", r.Name, w.run(r, "dpkg", "--install", "/var/tmp/"+name))
}

// wanfailConf is what a user makes of the conffile.
const wanfailConf = `config wanfail 'globals'
	list service 'dnsmasq'
	list service 'miniupnpd'
	option backup_gateway '192.168.77.1'

config wan 'wan'
	option parent 'eth2'
	option macaddr '02:68:71:2e:62:67'
`

// configure follows docs/debian.md: the file, the notify lines, what is enabled.
func (w *world) configure(r *lab.Router) {
	w.Helper()
	w.must(r.WriteFile("/etc/wanfail.conf", wanfailConf, 0o644))
	const path = "/etc/keepalived/keepalived.conf"
	conf, err := r.ReadFile(path)
	w.must(err)
	const instance = "vrrp_instance VI_1 {\n"
	before, after, ok := strings.Cut(conf, instance)
	if !ok {
		w.Fatalf("%s has no %q", path, instance)
	}
	conf = before + instance
	for event, word := range map[string]string{"master": "primary", "backup": "backup", "fault": "fault", "stop": "stop"} {
		conf += fmt.Sprintf("    notify_%s \"/usr/sbin/wanfail %s\"\n", event, word)
	}
	w.must(r.WriteFile(path, conf+after, 0o644))
	w.run(r, "systemctl", "enable", "keepalived")
	w.run(r, "systemctl", "restart", "wanfail")
}

// elect installs and configures both routers and returns when the first is
// primary.
func (w *world) elect(version string) (primary, backup *lab.Router) {
	w.Helper()
	for i := range 2 {
		w.install(w.l.Router(i), version)
		w.configure(w.l.Router(i))
	}
	for i := range 2 {
		w.must(w.l.Router(i).StartKeepalived(w.ctx))
	}
	w.isPrimary(w.l.Router(0))
	w.isBackup(w.l.Router(1))
	return w.l.Router(0), w.l.Router(1)
}

func (w *world) isPrimary(r *lab.Router) (addr netip.Prefix) {
	w.Helper()
	w.eventually(r.Name+" has a WAN", func() (ok bool, err error) {
		addr, ok, err = r.HasWAN()
		return ok, err
	})
	w.reports(r, "primary", true)
	return addr
}

func (w *world) isBackup(r *lab.Router) {
	w.Helper()
	w.eventually(r.Name+" has no WAN", func() (bool, error) {
		link, err := r.Link("wan")
		return link == nil, err
	})
	w.reports(r, "backup", false)
}

// reports waits until `wanfail status` and the services agree with a role.
func (w *world) reports(r *lab.Router, role string, running bool) {
	w.Helper()
	w.eventually(r.Name+" is "+role, func() (bool, error) {
		s, err := r.Status(w.ctx)
		if exit := (*lab.ExitError)(nil); errors.As(err, &exit) {
			return false, nil // not up yet
		}
		done := s.Role == role && len(s.Services) == 2
		for _, service := range s.Services {
			done = done && !service.Pending && service.Running == running
		}
		return done, err
	})
	for _, service := range []string{"dnsmasq", "miniupnpd"} {
		if is, err := r.Running(w.ctx, service); err != nil || is != running {
			w.Errorf("%s as %s: %s running %v (%v)", r.Name, role, service, is, err)
		}
	}
}

// pid of the keeper that systemd runs, "0" without one.
func (w *world) pid(r *lab.Router) string {
	w.Helper()
	return w.run(r, "systemctl", "show", "--property=MainPID", "--value", "wanfail")
}

// field is one of `wanfail status --json`.
func (w *world) field(r *lab.Router, name string) (value any) {
	w.Helper()
	var all map[string]any
	w.must(json.Unmarshal([]byte(w.run(r, "wanfail", "status", "--json")), &all))
	return all[name]
}

// unfelt does something while a packet passes the routers each 5 ms, and tells
// whether every one came through.
func (w *world) unfelt(what string, do func()) {
	w.Helper()
	p, err := w.l.StartProber(w.ctx)
	w.must(err)
	defer p.Stop()
	w.must(p.Settle(w.ctx))
	start := time.Now()
	do()
	took := time.Since(start)
	w.must(p.Settle(w.ctx))
	if o := p.Outage(start); o.Lost > 0 {
		w.Errorf("%s: %d probes in a row were lost, for %v", what, o.Lost, o.Duration())
	}
	w.Logf("%s took %v", what, took.Round(time.Millisecond))
}

// files lists what is on a router, less what every package manager and every
// boot writes.
func (w *world) files(r *lab.Router) []string {
	w.Helper()
	out := w.run(r, "find", "/etc", "/usr", "/var", "/run", "-xdev", "!", "-type", "d", "-printf", `%p %y%m %l\n`)
	lines := strings.Split(out, "\n")
	return slices.DeleteFunc(lines, func(line string) bool {
		for _, prefix := range []string{"/var/lib/dpkg/", "/var/log/", "/etc/rc", "/var/tmp/", "/var/cache/", "/var/lib/misc/", "/run/systemd/", "/run/user/", "/run/host", "/run/log/"} {
			if strings.HasPrefix(line, prefix) {
				return true
			}
		}
		return false
	})
}
