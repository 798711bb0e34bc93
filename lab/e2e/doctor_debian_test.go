package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

func testDoctorDebian(t *testing.T, seen map[string]bool) {
	w := build(t, 5*time.Minute, lab.Options{Conntrackd: true})
	r := w.l.Router(0)
	p := &patient{world: w, Router: r, seen: seen}
	p.examples()
	p.documented()
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
		// A fresh Debian's.
		{name: "IPv6", id: "parent", proof: says("inet6 fe80:", "ip", "address", "show", "dev", "eth2"), cured: sh("! ip address show dev eth2 | grep inet6")},
		{name: "address", id: "parent", provoke: sh("ip address add 192.168.100.2/24 dev eth2")},

		{id: "configuration", provoke: sh("echo ' option colour red' >>" + wanfailConf), byHand: func(fix string) {
			_, restart, _ := strings.Cut(fix, "; then ")
			sh("sed -i '/colour/d' " + wanfailConf + "; " + restart)()
		}},
		{id: "keeper", with: []string{"boot-wanfail"}, provoke: sh("systemctl disable --now wanfail"), cured: says("enabled", "systemctl", "is-enabled", "wanfail")},
		{id: "boot-keepalived", provoke: sh("systemctl disable keepalived"), cured: says("enabled", "systemctl", "is-enabled", "keepalived")},
		{name: "nftables at boot", id: "boot-nftables", provoke: sh("systemctl disable nftables"), cured: says("enabled", "systemctl", "is-enabled", "nftables")},
		{
			id: "keepalived-stopped", with: []string{"no-master"}, provoke: sh("systemctl stop keepalived"),
			cured: func() { w.becomesPrimary(r) },
		},
		{
			id: "no-master", with: []string{"keepalived-stopped"}, provoke: sh("systemctl stop keepalived"),
			byHand: func(string) { sh("systemctl start keepalived")() }, cured: func() { w.becomesPrimary(r) },
		},
		{ // The virtual address stays.
			name: "keepalived killed", id: "keepalived-stopped", with: []string{"no-master"},
			provoke: sh("systemctl kill --signal=KILL keepalived; while systemctl is-active keepalived; do sleep 0.02; done"),
			proof:   says("(failed)", "sh", "-c", "systemctl is-failed keepalived | sed 's/.*/(&)/'"),
			cured:   func() { w.becomesPrimary(r) },
		},
		{
			id: "role-by-hand", provoke: sh("wanfail backup || :"), cured: func() { w.becomesPrimary(r) },
		},
		{
			id: "vrrp-fault", with: []string{"no-master"},
			provoke: func() {
				sh("sed -i 's/^eth2$/eth2\\neth3/' " + keepalivedConf + "; systemctl reload keepalived; ip link set dev eth3 down")()
				w.becomesBackup(r)
			},
			byHand: func(string) {
				sh("ip link set dev eth3 up; sed -i '/^eth3$/d' " + keepalivedConf + "; systemctl reload keepalived")()
				w.becomesPrimary(r)
			},
		},
		{id: "keepalived-test", provoke: sh("sed -i 's/^vrrp_instance.*/&\\ncolour red/' " + keepalivedConf), byHand: func(fix string) {
			_, reload, _ := strings.Cut(fix, "; then ")
			sh("sed -i /colour/d " + keepalivedConf + "; " + reload)()
		}},
		{id: "notify-role", provoke: sh(`sed -i -E 's/(notify_master.*) primary/\1 backup/' ` + keepalivedConf)},
		{
			id: "vrrp-state", provoke: sh("sed -i 's/state BACKUP/state MASTER/' " + keepalivedConf),
			cured: sh("grep 'state BACKUP' " + keepalivedConf),
		},
		{id: "track-interface", provoke: sh("sed -i '/track_interface/,/}/d' " + keepalivedConf)},
		{id: "track-wan", provoke: sh("sed -i 's/^eth2$/wan/' " + keepalivedConf), cured: sh("grep -x eth2 " + keepalivedConf)},
		{
			id: "backup-gateway", provoke: sh("sed -i \"/conntrackd/a option backup_gateway '192.168.77.9'\" " + wanfailConf + "; systemctl restart wanfail"),
			cured: sh("grep 192.168.77.1 " + wanfailConf + "; sed -i /backup_gateway/d " + wanfailConf + "; systemctl restart wanfail"),
		},

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
		{name: "FIFO and hooks", id: "several-hooks", provoke: sh(`sed -i '/^ *router_id/a vrrp_notify_fifo /run/vrrp.fifo\nvrrp_notify_fifo_script "/usr/sbin/wanfail fifo"' ` + keepalivedConf)},
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

		{
			id: "sysctl-file", provoke: sh("sed -i /ip_forward/d /etc/sysctl.d/50-router.conf"),
			cured: sh("grep ip_forward /etc/sysctl.d/99-wanfail.conf"),
		},
		{name: "sysctl of another file", id: "sysctl-file", provoke: sh("echo net.ipv4.conf.all.rp_filter=1 >/etc/sysctl.d/60-strict.conf"), cured: sh("rm /etc/sysctl.d/60-strict.conf")},
		{id: "rp-filter", provoke: sh("sysctl -w net.ipv4.conf.all.rp_filter=1")},
		{id: "forwarding", provoke: sh("sysctl -w net.ipv4.ip_forward=0")},
		{id: "tcp-liberal", provoke: sh(`sed -i 's/^Sync {/Sync {\n    Options {\n        TCPWindowTracking On\n    }/' ` + conntrackdConf + "; systemctl restart conntrackd")},
		{name: "conntrackd stopped", id: "conntrackd", with: []string{"boot-conntrackd"}, provoke: sh("systemctl disable --now conntrackd")},
		{
			id: "conntrackd-filter", provoke: sh(`sed -i -E '/Address Ignore/,$ { /192.168.77.[12]$|10.77.0.2$/d }' ` + conntrackdConf),
		},
		{name: "conntrackd without filter", id: "conntrackd-filter", provoke: sh("sed -i '/Filter From/,$d' " + conntrackdConf + "; echo '}' >>" + conntrackdConf)},
		{id: "conntrackd-link", provoke: sh("sed -i 's/Interface eth3/Interface eth9/' " + conntrackdConf), byHand: func(fix string) {
			_, restart, _ := strings.Cut(fix, "; then ")
			sh("sed -i 's/Interface eth9/Interface eth3/' " + conntrackdConf + "; " + restart)()
		}},
		{name: "conntrackd on the LAN", id: "conntrackd-link", provoke: sh("sed -i 's/Interface eth3/Interface eth1/' " + conntrackdConf), byHand: func(fix string) {
			_, restart, _ := strings.Cut(fix, "; then ")
			sh("sed -i 's/Interface eth1/Interface eth3/' " + conntrackdConf + "; " + restart)()
		}},
		{id: "conntrackd-hash", provoke: sh("sed -i 's/HashSize .*/HashSize 8192/' " + conntrackdConf)},
		{name: "conntrackd's own hash", id: "conntrackd-hash", provoke: sh("sed -i /HashSize/d " + conntrackdConf)},
		{
			id: "conntrackd-unit", provoke: sh("rm /etc/systemd/system/conntrackd.service.d/wanfail.conf; systemctl daemon-reload"),
			cured: says("StartLimitIntervalUSec=0", "systemctl", "show", "conntrackd", "--property=StartLimitIntervalUSec"),
		},
		{
			id: "networkd-link", provoke: func() {
				w.must(r.WriteFile("/etc/systemd/network/30-eth3.network", "[Match]\nName=eth3\n\n[Network]\nAddress=10.77.0.2/24\n", 0o644))
				sh("mkdir -p /etc/systemd/system/network-online.target.wants; ln -s /lib/systemd/system/systemd-networkd-wait-online.service /etc/systemd/system/network-online.target.wants/; systemctl start systemd-networkd")()
			},
			cured: sh("rm -r /etc/systemd/network/30-eth3.network* /etc/systemd/system/network-online.target.wants; systemctl stop systemd-networkd; rm -r /run/systemd/netif"),
		},
		{name: "conntrackd without configuration", id: "conntrackd", provoke: sh("rm " + conntrackdConf)},

		{id: "firewall", provoke: sh("nft flush ruleset")},
		{
			id: "firewall-masquerade", provoke: sh("sed -i '/ masquerade/s/^/#/' /etc/nftables.conf; nft -f /etc/nftables.conf"),
			byHand: func(fix string) {
				_, reload, _ := strings.Cut(fix, "; then ")
				sh("sed -i '/ masquerade/s/^#//' /etc/nftables.conf; " + reload)()
			},
		},
		{
			id: "firewall-vrrp", provoke: sh("sed -i '/protocol vrrp/s/^/#/' /etc/nftables.conf; nft -f /etc/nftables.conf"),
			byHand: func(fix string) {
				_, reload, _ := strings.Cut(fix, "; then ")
				sh("sed -i '/protocol vrrp/s/^#//' /etc/nftables.conf; " + reload)()
			},
		},
		{
			id: "firewall-conntrackd", provoke: sh("sed -i '/hook input/a iifname { $lan, $link } udp dport 3780 drop' /etc/nftables.conf; nft -f /etc/nftables.conf"),
			byHand: func(fix string) {
				_, reload, _ := strings.Cut(fix, "; then ")
				sh("sed -i '/^iifname/d' /etc/nftables.conf; " + reload)()
			},
		},
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
