package e2e

import (
	"os"
	"path/filepath"
	"regexp"
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
	w := build(t, 40*time.Second, lab.Options{Backend: lab.Init})
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
	hook, err := os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging/openwrt/files/etc/hotplug.d/keepalived/50-wanfail"))
	w.must(err)
	for path, text := range map[string]string{
		"/etc/openwrt_release":                 "DISTRIB_ID='OpenWrt'\n",
		"/etc/config/wanfail":                  conf,
		"/tmp/keepalived.conf":                 vrrp,
		"/etc/hotplug.d/keepalived/50-wanfail": string(hook),
		"/etc/config/network":                  "\nconfig interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\nconfig interface 'wan'\n\toption proto 'wanfail'\n\nconfig interface 'wport'\n\toption device 'eth2'\n\toption proto 'none'\n",
		"/etc/config/firewall":                 "config defaults\n\toption input 'REJECT'\n\nconfig zone\n\toption name 'lan'\n\tlist network 'lan'\n\nconfig zone\n\toption name 'wan'\n\tlist network 'wan'\n\tlist device 'wan'\n\toption masq '1'\n",
		"/etc/config/dhcp":                     "config dnsmasq\n\toption domainneeded '1'\n\nconfig dhcp 'lan'\n\toption interface 'lan'\n\toption force '1'\n\nconfig dhcp\n\toption interface 'guest'\n\toption force 'on'\n\nconfig dhcp 'wan'\n\toption interface 'wan'\n\toption ignore '1'\n",
	} {
		w.must(r.WriteFile(path, text, 0o644))
	}
	// OpenWrt's service is a function of its shell.
	w.must(r.WriteFile("/usr/local/sbin/service", `#!/bin/sh
case $2 in
disable) exec rm /etc/rc.d/S??"$1" ;;
*) [ ! -x "/etc/init.d/$1" ] || exec "/etc/init.d/$1" "$2" ;;
esac
`, 0o755))
	w.run(r, "sh", "-c", "rm "+keepalivedConf+"; sysctl -w net.ipv6.conf.eth2.disable_ipv6=1; mkdir -p /etc/rc.d")
	w.role(r, "primary") // which starts the keeper
	p.healthy()

	edit := func(path, from, to string) func() {
		return func() { t.Helper(); p.edit(path, from, to) }
	}
	for _, f := range []fault{
		{name: "netifd, WAN", id: "netifd", provoke: edit("/etc/config/network", "'wanfail'", "'dhcp'\n\toption device 'eth2'")},
		{name: "netifd, port", id: "netifd", provoke: edit("/etc/config/network", "'none'", "'dhcpv6'")},
		{id: "sync-hook", provoke: func() {
			w.must(r.WriteFile("/etc/hotplug.d/keepalived/551-dnsmasq", dnsmasqSync, 0o644))
		}},
		{id: "dnsmasq-force", provoke: edit("/etc/config/dhcp", "\toption force '1'\n", "")},
		{name: "no name", id: "dnsmasq-force", provoke: edit("/etc/config/dhcp", "\toption force 'on'\n", "")},
		{name: "no zone", id: "firewall-wan", provoke: edit("/etc/config/firewall", "\tlist network 'wan'\n\tlist device 'wan'\n", "")},
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
	words := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(command, "uci "), "-q "))
	if words[0] == "commit" {
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
	if m := regexp.MustCompile(`^@(\w+)\[(\d+)\]$`).FindStringSubmatch(parts[1]); m != nil {
		header = regexp.MustCompile(`^config ` + m[1] + `\b`)
		nth, _ = strconv.Atoi(m[2])
	}
	option := regexp.MustCompile(`^\s*(option|list) ` + parts[2] + ` `)
	var out []string
	here, found := false, false
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
		if here && strings.HasPrefix(line, "config ") {
			found = true
			switch words[0] {
			case "set":
				out = append(out, "\toption "+parts[2]+" '"+value+"'")
			case "add_list":
				out = append(out, "\tlist "+parts[2]+" '"+value+"'")
			case "delete":
			default:
				p.Fatalf("what is %q?", command)
			}
		}
	}
	if !found {
		p.Fatalf("%s has no section for %q", path, command)
	}
	p.must(p.WriteFile(path, strings.Join(out, "\n")+"\n", 0o644))
}
