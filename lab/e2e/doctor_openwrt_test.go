package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// dnsmasqSync is what keepalived-sync of OpenWrt does with dnsmasq.
const dnsmasqSync = `#!/bin/sh

# shellcheck source=/dev/null
. /lib/functions/keepalived/hotplug.sh

set_service_name dnsmasq

set_restart_if_master
set_stop_if_backup

add_sync_file /etc/config/dhcp
add_sync_file /tmp/dhcp.leases

keepalived_hotplug
`

// testDoctorOpenWrt has the files of OpenWrt, in front of a router without
// systemd, as docs/openwrt.md has people make them.
func testDoctorOpenWrt(t *testing.T, seen map[string]bool) {
	w := build(t, 90*time.Second, lab.Options{Backend: lab.Init, Conntrackd: true})
	r := w.l.Router(0)
	p := &patient{world: w, Router: r, seen: seen}
	p.uci = p.editUCI
	conf, err := r.ReadFile(wanfailConf)
	w.must(err)
	vrrp, err := r.ReadFile(keepalivedConf)
	w.must(err)
	for _, event := range []string{"master", "backup", "fault", "stop"} {
		vrrp = regexp.MustCompile(`notify_`+event+` ".*"`).ReplaceAllString(vrrp, "notify_"+event+
			` "/bin/busybox env -i ACTION=NOTIFY_`+strings.ToUpper(event)+` TYPE=INSTANCE NAME=VI_1 /sbin/hotplug-call keepalived"`)
	}
	vrrp = strings.Replace(vrrp, "virtual_ipaddress {", "track_interface {\neth2\n}\nvirtual_ipaddress {", 1)
	hook, err := os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging/openwrt/files/etc/hotplug.d/keepalived/50-wanfail"))
	w.must(err)
	for path, text := range map[string]string{
		"/etc/openwrt_release":                 "DISTRIB_ID='OpenWrt'\n",
		"/etc/config/wanfail":                  conf,
		"/tmp/keepalived.conf":                 vrrp,
		"/etc/hotplug.d/keepalived/50-wanfail": string(hook),
		"/etc/config/network":                  "\nconfig interface 'lan'\n\toption device 'eth1'\n\toption proto 'static'\n\nconfig interface 'wan'\n\toption proto 'wanfail'\n\nconfig interface 'wport'\n\toption device 'eth2'\n\toption proto 'none'\n",
		"/etc/config/firewall":                 "config defaults\n\toption input 'REJECT'\n\nconfig zone\n\toption name 'lan'\n\tlist network 'lan'\n\nconfig zone\n\toption name 'wan'\n\tlist network 'wan'\n\tlist device 'wan'\n\toption masq '1'\n",
		"/etc/config/keepalived":               "config globals 'globals'\n\toption enabled '1'\n\nconfig vrrp_instance 'VI_1'\n\toption name 'VI_1'\n\toption state 'BACKUP'\n",
		"/etc/sysctl.d/50-router.conf":         "net.ipv4.ip_forward=1\nnet.ipv6.conf.eth2.disable_ipv6=1\n",
		"/etc/config/dhcp":                     "config dnsmasq\n\toption domainneeded '1'\n\nconfig dhcp 'lan'\n\toption interface 'lan'\n\toption force '1'\n\tlist dhcp_option '3,192.168.77.1'\n\tlist dhcp_option '6,192.168.77.1'\n\toption ra 'disabled'\n\nconfig dhcp\n\toption interface 'guest'\n\toption force 'on'\n\nconfig dhcp 'wan'\n\toption interface 'wan'\n\toption ignore '1'\n",
	} {
		w.must(r.WriteFile(path, text, 0o644))
	}
	// OpenWrt's service is a function of its shell.
	w.must(r.WriteFile("/usr/local/sbin/service", `#!/bin/sh
case $1.$2 in
firewall.reload) exec nft -f /etc/nftables.conf ;;
keepalived.reload) # the file is made anew of UCI's
	! grep -q "state 'BACKUP'" /etc/config/keepalived || sed -i 's/state MASTER/state BACKUP/' /tmp/keepalived.conf
	kill -HUP "$(cat /run/keepalived.pid)"; exit ;;
esac
case $2 in
enable) exec ln -s "../init.d/$1" "/etc/rc.d/S70$1" ;;
disable) exec rm /etc/rc.d/S??"$1" ;;
*) [ ! -x "/etc/init.d/$1" ] || exec "/etc/init.d/$1" "$2" ;;
esac
`, 0o755))
	w.run(r, "sh", "-c", "rm "+keepalivedConf+"; sysctl -w net.ipv6.conf.eth2.disable_ipv6=1; mkdir -p /etc/rc.d")
	for _, name := range []string{"keepalived", "conntrackd", "wanfail"} {
		w.run(r, "ln", "-sf", "../init.d/"+name, "/etc/rc.d/S70"+name)
	}
	_, err = r.Start(context.WithoutCancel(w.ctx), "keepalived", "--dont-fork", "--use-file", "/tmp/keepalived.conf")
	w.must(err)
	w.eventually("keepalived is master", func() (bool, error) { return r.HoldsVIP() })
	w.role(r, "primary") // which starts the keeper
	// Debian's scripts of keepalived and conntrackd do not report a status.
	w.must(r.WriteFile("/etc/init.d/wanfail", "#!/bin/sh\n# start stop status\nexit 0\n", 0o755))
	p.healthy()

	replicates, err := r.ReadFile(conntrackdConf)
	w.must(err)
	edit := func(path, from, to string) func() {
		return func() { t.Helper(); p.edit(path, from, to) }
	}
	for _, f := range []fault{
		{name: "netifd, WAN", id: "netifd", provoke: edit("/etc/config/network", "'wanfail'", "'dhcp'\n\toption device 'eth2'")},
		{name: "netifd, port", id: "netifd", provoke: edit("/etc/config/network", "'none'", "'dhcpv6'")},
		{id: "sync-hook", provoke: func() {
			w.must(r.WriteFile("/etc/hotplug.d/keepalived/551-dnsmasq", dnsmasqSync, 0o644))
		}},
		{id: "uci", provoke: edit("/etc/config/firewall", "config defaults", "config 'defaults"), byHand: func(string) {
			p.edit("/etc/config/firewall", "config 'defaults", "config defaults")
		}},
		{id: "netifd-wan", provoke: edit("/etc/config/network", "config interface 'wan'\n\toption proto 'wanfail'\n", "")},
		{name: "no masq", id: "firewall-masquerade", provoke: edit("/etc/config/firewall", "\toption masq '1'\n", "")},
		{name: "no device", id: "firewall-wan", provoke: edit("/etc/config/firewall", "\tlist device 'wan'\n", "")},
		{
			name: "the firewall of fw4", id: "firewall-vrrp", provoke: func() { w.run(r, "nft", "insert", "rule", "inet", "filter", "input", "ip", "protocol", "112", "drop") },
			cured: func() {
				text, err := r.ReadFile("/etc/config/firewall")
				w.must(err)
				if !strings.Contains(text, "config rule\n\toption name 'Allow-VRRP'\n\toption src 'lan'\n\toption proto '112'\n\toption target 'ACCEPT'\n") {
					t.Errorf("the rule is not there:\n%s", text)
				}
			},
		},
		{id: "dhcp-option", provoke: edit("/etc/config/dhcp", "\tlist dhcp_option '3,192.168.77.1'\n\tlist dhcp_option '6,192.168.77.1'\n", "\tlist dhcp_option '3,192.168.77.2'\n")},
		{id: "dhcp-ra", provoke: edit("/etc/config/dhcp", "ra 'disabled'", "ra 'server'")},
		{id: "boot-wanfail", provoke: func() { w.run(r, "rm", "/etc/rc.d/S70wanfail") }},
		{
			// The file is made of UCI's; its init script is what makes it anew.
			name: "state, UCI", id: "vrrp-state", provoke: func() {
				p.edit("/etc/config/keepalived", "'BACKUP'", "'MASTER'")
				p.edit("/tmp/keepalived.conf", "state BACKUP", "state MASTER")
			},
			cured: func() {
				if text, err := r.ReadFile("/etc/config/keepalived"); err != nil || !strings.Contains(text, "option state 'BACKUP'") {
					t.Errorf("%v: %s", err, text)
				}
			},
		},
		{id: "dnsmasq-force", provoke: edit("/etc/config/dhcp", "\toption force '1'\n", "")},
		{name: "no name", id: "dnsmasq-force", provoke: edit("/etc/config/dhcp", "\toption force 'on'\n", "")},
		{name: "no zone", id: "firewall-wan", provoke: func() { w.run(r, "sed", "-i", "/list [a-z]* 'wan'/d", "/etc/config/firewall") }},
		{
			name: "no examples", id: "conntrackd", provoke: func() { w.run(r, "rm", conntrackdConf) },
			byHand: func(fix string) {
				if !strings.Contains(fix, "docs/openwrt.md, step 9") {
					t.Errorf("no way to go: %s", fix)
				}
				w.must(r.WriteFile(conntrackdConf, replicates, 0o644))
			},
		},
		{id: "enabled-dnsmasq", provoke: func() { w.run(r, "ln", "-s", "../init.d/dnsmasq", "/etc/rc.d/S19dnsmasq") }},
	} {
		p.suffer(f)
	}
	p.healthy()
}

// editUCI does to the files what a command of uci(1) does, of those that fixes
// are made of.
func (p *patient) editUCI(command string) {
	p.Helper()
	words := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(command, "uci "), "-q "), "'", ""))
	if words[0] == "commit" {
		return
	}
	if words[0] == "add" {
		path := "/etc/config/" + words[1]
		text, err := p.ReadFile(path)
		p.must(err)
		p.must(p.WriteFile(path, strings.TrimRight(text, "\n")+"\n\nconfig "+words[2]+"\n", 0o644))
		return
	}
	name, value, _ := strings.Cut(words[1], "=")
	parts := strings.SplitN(name, ".", 3)
	path := "/etc/config/" + parts[0]
	text, err := p.ReadFile(path)
	p.must(err)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	header := regexp.MustCompile(`^config \w+ '` + regexp.QuoteMeta(parts[1]) + `'$`)
	nth := 0
	if m := regexp.MustCompile(`^@(\w+)\[(-?\d+)\]$`).FindStringSubmatch(parts[1]); m != nil {
		header = regexp.MustCompile(`^config ` + m[1] + `\b`)
		if nth, _ = strconv.Atoi(m[2]); nth < 0 {
			nth += len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !header.MatchString(l) }))
		}
	}
	if len(parts) == 2 { // a section
		if !slices.ContainsFunc(lines, header.MatchString) {
			p.must(p.WriteFile(path, strings.Join(lines, "\n")+"\n\nconfig "+value+" '"+parts[1]+"'\n", 0o644))
		}
		return
	}
	option := regexp.MustCompile(`^\s*(option|list) ` + parts[2] + ` `)
	var out []string
	here, found := false, false
	last := 0 // where the section's options end
	for _, line := range lines {
		if strings.HasPrefix(line, "config ") {
			here = false
			if header.MatchString(line) {
				here, nth = nth == 0, nth-1
			}
		}
		if here && option.MatchString(line) && words[0] != "add_list" {
			continue
		}
		out = append(out, line)
		if here && line != "" {
			found, last = true, len(out)
		}
	}
	if !found {
		p.Fatalf("%s has no section for %q", path, command)
	}
	switch words[0] {
	case "set":
		out = slices.Insert(out, last, "\toption "+parts[2]+" '"+value+"'")
	case "add_list":
		out = slices.Insert(out, last, "\tlist "+parts[2]+" '"+value+"'")
	case "delete":
	default:
		p.Fatalf("what is %q?", command)
	}
	p.must(p.WriteFile(path, strings.Join(out, "\n")+"\n", 0o644))
}
