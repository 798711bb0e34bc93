package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// unprovoked are the findings that no router of the lab can have, each with the
// reason; unit tests of the package provoke them in their facts.
var unprovoked = map[string]string{
	"clock":  "no namespace has a clock of its own, and that of the computer is not ours to set",
	"kernel": "netlink tells everybody what doctor asks for",
}

// TestDoctor brings routers into each bad state that doctor knows, does what it
// says, and looks whether the finding is gone.
func TestDoctor(t *testing.T) {
	seen := map[string]bool{}
	parts := 0
	for _, part := range []struct {
		name string
		run  func(*testing.T, map[string]bool)
	}{
		{"Debian", testDoctorDebian}, {"OpenWrt", testDoctorOpenWrt}, {"pair", testDoctorPair}, {"probe", testDoctorProbe},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, seen); parts++ })
	}
	if t.Failed() || parts < 4 { // what follows comes of that
		return
	}
	for _, id := range doctor.IDs() {
		if _, not := unprovoked[id]; not == seen[id] {
			t.Errorf("%s: provoked %v, cannot be: %v", id, seen[id], not)
		}
	}
}

// patient is a router that doctor looks at.
type patient struct {
	*world
	*lab.Router
	args []string // of doctor
	seen map[string]bool
	// uci does what uci(1) does.
	uci func(command string)
}

// diagnose runs doctor.
func (p *patient) diagnose() (found map[string]doctor.Finding, code int) {
	p.Helper()
	out, code := p.code(p.Router, "wanfail", append([]string{"doctor", "--json"}, p.args...)...)
	var d doctor.Diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		p.Fatalf("%v: %s", err, out)
	}
	if code != d.Code() {
		p.Errorf("exit code %d, want %d", code, d.Code())
	}
	found = map[string]doctor.Finding{}
	for _, f := range d.Findings {
		if doctor.Known(f.ID) == "" {
			p.Errorf("%s is not among the IDs", f.ID)
		}
		found[f.ID] = f
	}
	return found, code
}

// fault is one thing that is wrong with a router.
type fault struct {
	name    string
	id      string
	provoke func()
	// with are other findings that come and go with it.
	with []string
	// proof looks whether what doctor warns of is so.
	proof func()
	// byHand does what the fix says where it is no command.
	byHand func(fix string)
	// cured looks whether what doctor has warned of is so no more.
	cured func()
}

// suffer provokes a fault, alone, and does what doctor says.
func (p *patient) suffer(f fault) {
	p.Helper()
	if f.name == "" {
		f.name = f.id
	}
	if f.provoke != nil {
		f.provoke()
	}
	found, _ := p.diagnose()
	is, ok := found[f.id]
	if !ok {
		p.Errorf("%s: %s is not found, but %+v", f.name, f.id, found)
		return
	}
	if is.Found == "" || is.Why == "" || is.Fix == "" {
		p.Errorf("%s: got %+v", f.name, is)
	}
	delete(found, f.id)
	for _, id := range f.with {
		delete(found, id)
	}
	if len(found) > 0 {
		p.Errorf("%s: found besides: %+v", f.name, found)
	}
	if f.proof != nil {
		f.proof()
	}
	p.Logf("%s: %s\n\tfix: %s", f.name, is.Found, is.Fix)
	switch byHand := strings.HasPrefix(is.Fix, "by hand: "); {
	case byHand != (f.byHand != nil):
		p.Errorf("%s: by hand is %v in %q", f.name, byHand, is.Fix)
	case byHand:
		f.byHand(is.Fix)
	default:
		p.shell(is.Fix)
	}
	// Some of it takes a moment to be so: NetworkManager's and networkd's part.
	var left map[string]doctor.Finding
	err := lab.Eventually(p.ctx, f.name, func() (bool, error) {
		left, _ = p.diagnose()
		return len(left) == 0, nil
	})
	if err != nil {
		p.Fatalf("%s: %v: after %q there is still %+v", f.name, err, is.Fix, left)
	}
	if f.cured != nil {
		f.cured()
	}
	p.seen[doctor.Known(f.id)] = true
}

// shell runs a fix as it is printed.
func (p *patient) shell(fix string) {
	p.Helper()
	if p.uci == nil {
		p.run(p.Router, "sh", "-ec", fix)
		return
	}
	fix, _, _ = strings.Cut(fix, " # ")
	for _, command := range strings.Split(fix, "; ") {
		if strings.HasPrefix(command, "uci ") {
			p.uci(command)
		} else {
			p.run(p.Router, "sh", "-ec", command)
		}
	}
}

// healthy checks that nothing is found.
func (p *patient) healthy() {
	p.Helper()
	if found, code := p.diagnose(); code != 0 {
		p.Errorf("exit %d: %+v", code, found)
	}
	if out, code := p.code(p.Router, "wanfail", "doctor"); code != 0 || out != "nothing found\n" {
		p.Errorf("exit %d: %s", code, out)
	}
}

// edit replaces text in a file of the router, which must be there.
func (p *patient) edit(path, from, to string) {
	p.Helper()
	text, err := p.ReadFile(path)
	p.must(err)
	if !strings.Contains(text, from) {
		p.Fatalf("%s has no %q:\n%s", path, from, text)
	}
	p.must(p.WriteFile(path, strings.ReplaceAll(text, from, to), 0o644))
}

// examples puts those of the package where it puts them, and an editor that does
// what people do with them.
func (p *patient) examples() {
	p.Helper()
	for _, name := range []string{"keepalived/keepalived.conf", "conntrackd/conntrackd-lan.conf", "nftables/nftables.conf"} {
		b, err := os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging", name))
		p.must(err)
		p.must(p.WriteFile("/usr/share/doc/wanfail/examples/"+name, string(b), 0o644))
	}
	p.must(p.WriteFile("/usr/local/bin/editor", `#!/bin/sh
sed -i -e 's/192\.168\.10\./192.168.77./g' -e '/_delay [1-9]/d' "$1"
`, 0o755))
}

// documented makes what the documents have one make and the lab has not.
func (p *patient) documented() {
	p.Helper()
	p.must(p.WriteFile("/etc/sysctl.d/50-router.conf", "net.ipv4.ip_forward = 1\n", 0o644))
	p.edit(keepalivedConf, "virtual_ipaddress {", "track_interface {\neth2\n}\nvirtual_ipaddress {")
	for _, name := range []string{"keepalived.service", "conntrackd.service"} {
		p.run(p.Router, "ln", "-sf", "/lib/systemd/system/"+name, "/etc/systemd/system/multi-user.target.wants/"+name)
	}
	drop, err := os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging/systemd/conntrackd.conf"))
	p.must(err)
	p.must(p.WriteFile("/etc/systemd/system/conntrackd.service.d/wanfail.conf", string(drop), 0o644))
	if _, err := p.ReadFile("/run/systemd/system"); !errors.Is(err, fs.ErrNotExist) {
		p.run(p.Router, "systemctl", "daemon-reload")
	}
}

const (
	keepalivedConf = "/etc/keepalived/keepalived.conf"
	conntrackdConf = "/etc/conntrackd/conntrackd.conf"
	wanfailConf    = "/etc/wanfail.conf"
)
