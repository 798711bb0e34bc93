package command_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/doctor"
)

// A router on which much is wrong, for real: in the kernel, in /etc, in
// keepalived's configuration. Each fix that doctor asks for makes its finding go
// away, and in the end nothing is found.
func TestDoctorUntilClean(t *testing.T) {
	overlay(t, "/etc")
	p := newPairing(t)
	const vrrp = "/etc/keepalived/keepalived.conf"
	conf := p.dir + "/wanfail.conf"
	edit := func(name, from, to string) {
		t.Helper()
		raw, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(raw), from) {
			t.Fatalf("%s has no %q: %v", name, from, err)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(raw), from, to)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sysctl := func(name, value string) {
		t.Helper()
		p.router.Do(t, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) })
	}
	parent := func(f func(netlink.Link) error) {
		t.Helper()
		p.router.Do(t, func() error {
			l, err := netlink.LinkByName("eth2")
			return errors.Join(err, f(l))
		})
	}
	noise, err := netlink.ParseAddr("192.168.100.2/24")
	if err != nil {
		t.Fatal(err)
	}

	text := strings.Replace(p.config(200, p.hooks()), "script_user root", "enable_script_security", 1)
	text = strings.Replace(text, "vrrp_version 3", "", 1)
	for _, event := range []string{"notify_stop", "notify_fault"} {
		text = strings.Replace(text, event, "# "+event, 1)
	}
	p.write(vrrp, text, 0o644)
	p.write("/etc/systemd/system/multi-user.target.wants/sleeper.service", "", 0o644)
	p.write("/etc/network/interfaces", "iface eth2 inet dhcp\n", 0o644)
	p.write("/etc/config/firewall", "config zone\n\toption name 'wan'\n", 0o644)
	p.write("/etc/systemd/network/50-all.network", "[Match]\nName=*\n", 0o644)
	p.write("/run/systemd/netif/x", "", 0o644)
	edit(conf, "service none", "service sleeper\n\toption conntrackd 1")
	coverInit(t)
	var mac string
	parent(func(l netlink.Link) error { mac = l.Attrs().HardwareAddr.String(); return netlink.AddrAdd(l, noise) })
	edit(conf, "02:68:71:2e:62:67", mac)
	sysctl("ipv4/conf/all/rp_filter", "1")
	sysctl("ipv4/ip_forward", "0")
	if err := os.Chmod(filepath.Dir(p.bin), 0o777); err != nil {
		t.Fatal(err)
	}

	findings := func() (ids []string, all string) {
		t.Helper()
		out, code := p.wanfail("doctor", "--json")
		var d doctor.Diagnosis
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if code != d.Code() {
			t.Errorf("exit code %d, want %d", code, d.Code())
		}
		for _, f := range d.Findings {
			ids = append(ids, f.ID)
			all += fmt.Sprintf("%s: %s\n", f.ID, f.Found)
		}
		return ids, all
	}
	for _, c := range []struct {
		id  string
		fix func()
	}{
		{"keeper", func() { p.start(p.router, p.bin, p.args("keeper")...); p.await("role      backup", "status") }},
		{"notify-stop", func() { edit(vrrp, "# notify_stop", "notify_stop") }},
		{"notify-fault", func() { edit(vrrp, "# notify_fault", "notify_fault") }},
		{"hook-writable", func() {
			if err := os.Chmod(filepath.Dir(p.bin), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"advert-version", func() { edit(vrrp, "priority 200", "priority 200\n\tversion 3") }},
		{"enabled-sleeper", func() {
			if err := os.Remove("/etc/systemd/system/multi-user.target.wants/sleeper.service"); err != nil {
				t.Fatal(err)
			}
		}},
		{"networkd", func() {
			p.write("/etc/systemd/network/10-wanfail.network", "[Match]\nName=wan\n\n[Link]\nUnmanaged=yes\n", 0o644)
		}},
		{"ifupdown", func() { edit("/etc/network/interfaces", "dhcp", "manual") }},
		{"mac-parent", func() { edit(conf, mac, "02:68:71:2e:62:67") }},
		{"parent", func() {
			parent(func(l netlink.Link) error { return netlink.AddrDel(l, noise) })
			sysctl("ipv6/conf/eth2/disable_ipv6", "1")
		}},
		{"rp-filter", func() { sysctl("ipv4/conf/all/rp_filter", "2") }},
		{"forwarding", func() { sysctl("ipv4/ip_forward", "1") }},
		{"conntrackd", func() { edit(conf, "conntrackd 1", "conntrackd 0") }},
		{"firewall-wan", func() { edit("/etc/config/firewall", "'wan'", "'wan'\n\tlist network 'wan'") }},
	} {
		before, all := findings()
		if !slices.Contains(before, c.id) {
			t.Errorf("%s is not found:\n%s", c.id, all)
			continue
		}
		c.fix()
		if after, all := findings(); slices.Contains(after, c.id) {
			t.Errorf("%s is still found after its fix:\n%s", c.id, all)
		}
	}
	if ids, all := findings(); len(ids) > 0 {
		t.Errorf("found in the end:\n%s", all)
	}
	if out, code := p.wanfail("doctor"); code != 0 || out != "nothing found\n" {
		t.Errorf("%d: %s", code, out)
	}
}

// A probe is refused while somebody answers for the virtual address, and asks a
// real DHCP server otherwise, which grants nothing.
func TestDoctorProbe(t *testing.T) {
	overlay(t, "/etc")
	p := newPairing(t)
	p.write("/etc/keepalived/keepalived.conf", p.config(200, p.hooks()), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(100, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "Entering MASTER STATE")
	if out, code := p.wanfail("doctor", "--probe"); code != 1 || !strings.Contains(out, "no probe: 192.168.10.1 answers on eth1: the peer is master") {
		t.Errorf("with a master: %d, %s", code, out)
	}
	peer.stop()
	out, _ := p.wanfail("doctor", "--probe", "--json", "--wait", "2s")
	if !strings.Contains(out, `"findings"`) || strings.Contains(out, `"id": "probe`) {
		t.Errorf("a server that answers: %s", out)
	}
	leases, err := os.ReadFile(filepath.Join(p.image, "run/leases"))
	if err != nil || len(leases) > 0 {
		t.Errorf("the server granted %q, %v", leases, err)
	}
}
