package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

const (
	keepalivedConf = "/etc/keepalived/keepalived.conf"
	conntrackdConf = "/etc/conntrackd/conntrackd.conf"
	wanfailConf    = "/etc/wanfail.conf"
)

func testDoctorDebian(t *testing.T, seen map[string]bool) {
	w := build(t, 90*time.Second, lab.Options{Conntrackd: true})
	r := w.l.Router(0)
	p := &patient{world: w, Router: r, seen: seen}
	p.examples()
	w.must(r.StartKeepalived(w.ctx))
	w.becomesPrimary(r)
	sh := func(script string) func() {
		return func() { t.Helper(); w.run(r, "sh", "-ec", script) }
	}
	// says waits for what a program has to say.
	says := func(want string, command ...string) func() {
		return func() {
			t.Helper()
			var out string
			ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
			defer cancel()
			err := lab.Eventually(ctx, want, func() (bool, error) {
				out, _ = w.code(r, command[0], command[1:]...)
				return strings.Contains(out, want), nil
			})
			if err != nil {
				t.Errorf("%v does not say %q: %s", command, want, out)
			}
		}
	}
	// keepalived tells of hooks that it disables when it reads its configuration.
	disables := func(want string) func() {
		return func() {
			t.Helper()
			since := fmt.Sprintf("--since=@%d", time.Now().Unix())
			sh("systemctl reload keepalived")()
			says(want, "journalctl", "--no-pager", "--unit=keepalived", since)()
		}
	}
	refused := disables("Unsafe permissions found for script '/usr/sbin/wanfail' - disabling")
	faults := []fault{
		// A fresh Debian's only one.
		{name: "IPv6", id: "parent", proof: says("inet6 fe80:", "ip", "address", "show", "dev", "eth2"), cured: sh("! ip address show dev eth2 | grep inet6")},
		{name: "address", id: "parent", provoke: sh("ip address add 192.168.100.2/24 dev eth2")},

		{id: "configuration", provoke: sh("echo ' option colour red' >>" + wanfailConf), byHand: func(fix string) {
			_, restart, _ := strings.Cut(fix, "; then ")
			sh("sed -i '/colour/d' " + wanfailConf + "; " + restart)()
		}},
		{id: "keeper", provoke: sh("systemctl disable --now wanfail"), cured: says("enabled", "systemctl", "is-enabled", "wanfail")},

		{id: "notify", provoke: sh("sed -i /notify_/d " + keepalivedConf)},
		{id: "notify-master", provoke: sh("sed -i /notify_master/d " + keepalivedConf)},
		{id: "notify-backup", provoke: sh("sed -i /notify_backup/d " + keepalivedConf)},
		{id: "notify-fault", provoke: sh("sed -i /notify_fault/d " + keepalivedConf)},
		{id: "notify-stop", provoke: sh("sed -i /notify_stop/d " + keepalivedConf)},
		{
			id: "hook-missing", provoke: sh("sed -i s,/usr/sbin/wanfail,/usr/local/sbin/wanfail, " + keepalivedConf),
			proof: disables("/usr/local/sbin/wanfail"),
		},
		{name: "hook not executable", id: "hook-missing", provoke: sh("chmod 644 /usr/sbin/wanfail; cp /usr/sbin/wanfail /usr/bin/wanfail; chmod 755 /usr/bin/wanfail"), cured: sh("rm /usr/bin/wanfail")},
		{id: "hook-owner", provoke: sh("chown daemon /usr/sbin/wanfail"), proof: refused},
		{id: "hook-writable", provoke: sh("chmod 777 /usr/sbin"), proof: refused},
		{
			id: "hook-user", provoke: sh("useradd --system keepalived_script; sed -i /script_user/d " + keepalivedConf),
			proof: func() {
				sh("systemctl reload keepalived; install -d -o keepalived_script /run/who; sed -i '/notify_stop/i notify \"/usr/bin/touch /run/who/am-i\"' " + keepalivedConf)()
				sh("systemctl restart keepalived")()
				says("keepalived_script", "stat", "--format=%U", "/run/who/am-i")()
				sh("sed -i /am-i/d " + keepalivedConf)()
			},
		},
		{id: "several-hooks", provoke: sh(`sed -i '/notify_stop/a notify "/usr/sbin/wanfail notify"' ` + keepalivedConf)},
		{name: "FIFO and hooks", id: "several-hooks", provoke: sh(`sed -i '/router_id/a vrrp_notify_fifo /run/vrrp.fifo\nvrrp_notify_fifo_script "/usr/sbin/wanfail fifo"' ` + keepalivedConf)},
		{
			id: "advert-version", provoke: sh("sed -i /vrrp_version/d " + keepalivedConf),
			proof: says("must be an integer. rounding", "keepalived", "--config-test", "--log-console"),
		},
		{id: "drill-left", provoke: sh(`sed -i '/^vrrp_instance/i vrrp_track_file drill {\nfile /run/drill\n}' ` + keepalivedConf + "; echo -50 >/run/drill")},

		{id: "enabled-dnsmasq", provoke: sh("systemctl enable dnsmasq"), cured: says("disabled", "systemctl", "is-enabled", "dnsmasq")},
		{
			// It switches IPv6 on again, too.
			id: "networkmanager", with: []string{"parent"}, provoke: func() {
				sh("systemctl start NetworkManager")()
				says("eth2:connect", "nmcli", "-t", "-f", "DEVICE,STATE", "device")()
			},
			cured: func() {
				says("eth2:unmanaged", "nmcli", "-t", "-f", "DEVICE,STATE", "device")()
				says("wan:unmanaged", "nmcli", "-t", "-f", "DEVICE,STATE", "device")()
				sh("systemctl stop NetworkManager")()
			},
		},
		{
			name: "networkd, WAN", id: "networkd", provoke: func() {
				w.must(r.WriteFile("/etc/systemd/network/05-macvlan.network", "[Match]\nKind=macvlan\n\n[Network]\nLinkLocalAddressing=no\n", 0o644))
				sh("systemctl start systemd-networkd")()
			},
			proof: says("configured", "networkctl", "list", "--no-legend", "wan"),
			cured: says("unmanaged", "networkctl", "list", "--no-legend", "wan"),
		},
		{
			name: "networkd, port", id: "networkd", provoke: func() {
				w.must(r.WriteFile("/etc/systemd/network/05-port.network.d/dhcp.conf", "[Network]\nDHCP=ipv4\n", 0o644))
				w.must(r.WriteFile("/etc/systemd/network/05-port.network", "[Match]\nName=eth2\n", 0o644))
			},
			cured: sh("systemctl stop systemd-networkd; rm -r /run/systemd/netif"),
		},
		{id: "ifupdown", provoke: sh("echo 'iface eth2 inet dhcp' >>/etc/network/interfaces")},

		{id: "rp-filter", provoke: sh("sysctl -w net.ipv4.conf.all.rp_filter=1")},
		{id: "forwarding", provoke: sh("sysctl -w net.ipv4.ip_forward=0")},
		{id: "tcp-liberal", provoke: sh(`sed -i 's/^Sync {/Sync {\n    Options {\n        TCPWindowTracking On\n    }/' ` + conntrackdConf + "; systemctl restart conntrackd")},
		{name: "conntrackd stopped", id: "conntrackd", provoke: sh("systemctl disable --now conntrackd")},
		{
			id: "conntrackd-filter", provoke: sh(`sed -i -E '/Address Ignore/,$ { /192.168.77.[12]$|10.77.0.2$/d }' ` + conntrackdConf),
		},
		{name: "conntrackd without filter", id: "conntrackd-filter", provoke: sh("sed -i '/Filter From/,$d' " + conntrackdConf + "; echo '}' >>" + conntrackdConf)},
		{name: "conntrackd without configuration", id: "conntrackd", provoke: sh("rm " + conntrackdConf)},

		{id: "firewall", provoke: sh("nft flush ruleset")},
		{name: "by index", id: "firewall-wan", provoke: sh(`sed -i -E -e 's/^define .*wan.*//' -e 's/([io]if)name \$wan/\1 "wan"/' -e 's/\$wan/"lo"/' /etc/nftables.conf; nft -f /etc/nftables.conf`), byHand: func(fix string) {
			_, reload, _ := strings.Cut(fix, "; then ")
			sh(`sed -i -E 's/([io]if) "wan"/\1name "wan"/' /etc/nftables.conf; ` + reload)()
		}},

		{id: "mac-parent", with: []string{"parent"}, provoke: sh("sed -i s/macaddr.*/\"macaddr '$(cat /sys/class/net/eth2/address)'\"/ " + wanfailConf)},
		{id: "mac-global", provoke: sh("sed -i s/macaddr.*/\"macaddr '00:68:71:2e:62:67'\"/ " + wanfailConf)},
		{id: "boot-id", provoke: sh(">/run/empty; mount --bind /run/empty /proc/sys/kernel/random/boot_id"), byHand: func(string) {
			sh("umount /proc/sys/kernel/random/boot_id")()
		}},
		{id: "keepalived", provoke: sh("rm " + keepalivedConf)},
	}
	for _, f := range faults {
		p.suffer(f)
	}
	p.healthy()
	w.becomesPrimary(r)

	if out, code := w.code(r, "setpriv", "--reuid=nobody", "wanfail", "doctor"); code != 2 || !strings.Contains(out, "sudo wanfail doctor") {
		t.Errorf("as nobody: exit %d, %s", code, out)
	}
	seen["root"] = true
}
