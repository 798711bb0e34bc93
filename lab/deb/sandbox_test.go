package deb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

const unitFile = "/usr/lib/systemd/system/wanfail.service"

// TestSandbox: each restriction of the service is in force, and what the keeper
// needs is not among them. The same unit runs a probe in the keeper's place; a
// unit without restrictions shows that the probe could have got through.
func TestSandbox(t *testing.T) {
	w := build(t, 60*time.Second)
	r := w.l.Router(0)
	w.install(r, older)
	w.configure(r)
	const note = "/var/tmp/note"
	w.must(r.WriteFile("/etc/wanfail/hooks.d/note",
		"#!/bin/sh -e\necho $(nice) $1 $WANFAIL_BY $WANFAIL_ADDRESS >>"+note+"\nchown nobody "+note+"\n", 0o755))
	w.run(r, "wanfail", "primary")
	addr := w.isPrimary(r)
	w.restrained(r)
	// A user's scripts are not in the sandbox.
	w.eventually("scripts have run", func() (bool, error) {
		text, _ := r.ReadFile(note)
		return strings.Contains(text, "10 bound "+addr.Addr().String()+"\n") && strings.Contains(text, "10 primary by hand PRIMARY\n"), nil
	})
	if got := w.run(r, "stat", "--format=%U", note); got != "nobody" {
		t.Errorf("the script's file belongs to %s", got)
	}
	w.priorities(r)
	// Another keeper tells them nothing that they know.
	w.run(r, "systemctl", "restart", "wanfail")
	w.isPrimary(r)
	w.run(r, "wanfail", "backup")
	var events string
	w.eventually("scripts are called for the end", func() (bool, error) {
		events, _ = r.ReadFile(note)
		return strings.Contains(events, "10 lost") && strings.Contains(events, "10 backup by hand BACKUP\n"), nil
	})
	for event, n := range map[string]int{"primary": 1, "bound": 1, "backup": 2, "lost": 1} { // the first backup at the start
		if got := strings.Count(events, "10 "+event); got != n {
			t.Errorf("scripts got %d times %s, want %d:\n%s", got, event, n, events)
		}
	}
	w.run(r, "wanfail", "primary")
	w.isPrimary(r)

	probe, err := os.ReadFile(filepath.Join(sandbox.RepoDir, built, "probe"))
	w.must(err)
	w.must(r.WriteFile("/usr/local/bin/probe", string(probe), 0o755))
	w.must(r.WriteFile("/tmp/mark", "", 0o644))
	w.run(r, "mkdir", "-p", "/usr/lib/modules")
	unit, err := r.ReadFile(unitFile)
	w.must(err)
	free := w.probe(r, "[Service]\nExecStart=/usr/local/bin/probe\n")
	caged := w.probe(r, instead(unit))
	for _, c := range []struct{ what, free, caged string }{
		{"write /etc", "ok", "EROFS"},                 // ProtectSystem
		{"write /usr", "ok", "EROFS"},                 //
		{"write /var/lib", "ok", "EROFS"},             //
		{"write /run", "ok", "EROFS"},                 //
		{"write /run/wanfail", "ok", "ok"},            // RuntimeDirectory
		{"write a sysctl of the network", "ok", "ok"}, // ReadWritePaths
		{"read /root", "ok", "EACCES"},                // ProtectHome
		{"read /usr/lib/modules", "ok", "EACCES"},     // ProtectKernelModules
		{"read /proc/kallsyms", "ok", "EACCES"},       // ProtectKernelTunables
		{"see /tmp", "ok", "ENOENT"},                  // PrivateTmp
		{"see a device", "ok", "ENOENT"},              // PrivateDevices
		{"make a control group", "ok", "EROFS"},       // ProtectControlGroups
		{"set the host name", "EFAULT", "EPERM"},      // ProtectHostname
		{"set the clock", "EFAULT", "EPERM"},          // ProtectClock
		{"mount", "EFAULT", "EPERM"},                  // SystemCallFilter
		{"chroot", "EFAULT", "EPERM"},                 //
		{"ptrace", "ESRCH", "EPERM"},                  //
		{"reboot", "EINVAL", "EPERM"},                 //
		{"change owners", "EBADF", "EPERM"},           //
		{"be real-time", "EINVAL", "EPERM"},           // RestrictRealtime
		{"change its personality", "ok", "EPERM"},     // LockPersonality
		{"make code", "ok", "EPERM"},                  // MemoryDenyWriteExecute
		{"make a user namespace", "ok", "EPERM"},      // RestrictNamespaces
		{"make a setuid file", "ok", "EPERM"},         // RestrictSUIDSGID
		{"socket AF_UNIX", "ok", "ok"},                // RestrictAddressFamilies
		{"socket AF_INET", "ok", "ok"},                //
		{"socket AF_NETLINK", "ok", "ok"},             //
		{"socket AF_PACKET", "ok", "ok"},              //
		{"socket AF_INET6", "ok", "EAFNOSUPPORT"},     //
	} {
		if free[c.what] != c.free {
			t.Errorf("without restrictions, %s: %q, want %s", c.what, free[c.what], c.free)
		}
		if caged[c.what] != c.caged {
			t.Errorf("%s: %q, want %s", c.what, caged[c.what], c.caged)
		}
	}
	// SystemCallArchitectures, where the kernel could run it at all.
	const i386 = "run 32-bit code"
	if free[i386] == "ok" && caged[i386] == "ok" {
		t.Errorf("32-bit code runs")
	}
	t.Logf("%s: %q, in the sandbox %q", i386, free[i386], caged[i386])
}

// restrained looks at the keeper that runs.
func (w *world) restrained(r *lab.Router) {
	w.Helper()
	status := w.run(r, "cat", "/proc/"+w.pid(r)+"/status")
	// CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13.
	const caps = 1<<10 | 1<<12 | 1<<13
	for field, want := range map[string]string{
		"CapBnd": fmt.Sprintf("%016x", caps), "CapPrm": fmt.Sprintf("%016x", caps), "CapEff": fmt.Sprintf("%016x", caps),
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		_, rest, _ := strings.Cut(status, "\n"+field+":\t")
		if got, _, _ := strings.Cut(rest, "\n"); got != want {
			w.Errorf("the keeper's %s is %q, want %s", field, got, want)
		}
	}
	out := w.run(r, "systemd-analyze", "security", "--no-pager", "wanfail.service")
	_, rest, _ := strings.Cut(out, "Overall exposure level for wanfail.service: ")
	var exposure float64
	if _, err := fmt.Sscanf(rest, "%f", &exposure); err != nil || exposure > 2.3 {
		w.Errorf("systemd-analyze security says %.1f (%v):\n%s", exposure, err, out)
	}
	w.Logf("systemd-analyze security: %.1f", exposure)
}

// instead makes a unit run the probe, once, and is otherwise the same.
func instead(unit string) string {
	var lines []string
	for line := range strings.Lines(unit) {
		key, _, _ := strings.Cut(line, "=")
		switch key {
		case "Type", "Restart", "RestartSec", "RestartPreventExitStatus", "ExecCondition":
			continue
		case "ExecStart":
			line = "ExecStart=/usr/local/bin/probe\n"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// probe runs it as a unit and returns the outcome of each try.
func (w *world) probe(r *lab.Router, unit string) map[string]string {
	w.Helper()
	unit = strings.Replace(unit, "[Service]\n", "[Service]\nType=oneshot\nStandardOutput=truncate:/var/tmp/probe\n", 1)
	w.must(r.WriteFile("/run/systemd/system/probe.service", unit, 0o644))
	w.run(r, "systemctl", "daemon-reload")
	w.run(r, "systemctl", "start", "probe.service")
	out, err := r.ReadFile("/var/tmp/probe")
	w.must(err)
	got := map[string]string{}
	for line := range strings.Lines(out) {
		what, how, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got[what] = how
	}
	return got
}

// priorities checks that the journal knows which line is how important.
func (w *world) priorities(r *lab.Router) {
	w.Helper()
	for _, want := range []string{`msg="is primary"`, `msg="lease bound"`} {
		if info := w.run(r, "journalctl", "--quiet", "--unit=wanfail", "--output=cat", "--priority=info..info"); strings.Count(info, want) != 1 {
			w.Errorf("not one line %s at info in the journal:\n%s", want, info)
		}
	}
	if rest := w.says(r, "journalctl", "--quiet", "--unit=wanfail", "--output=cat", "--priority=notice"); strings.Contains(rest, "msg=\"is ") {
		w.Errorf("more than info in the journal:\n%s", rest)
	}
}
