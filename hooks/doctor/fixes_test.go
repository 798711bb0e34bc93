package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/netif"
)

// Each platform has its own way to install what is missing.
func TestInstall(t *testing.T) {
	for want, f := range map[string]Facts{
		"apt install x; ":               {},
		"apk add x; ":                   {OpenWrt: true},
		"opkg update; opkg install x; ": {OpenWrt: true, Opkg: true},
	} {
		if got := f.install("x"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a file says, a path or a name, is one word of the command that is printed
// to be pasted.
func TestFixesAreQuoted(t *testing.T) {
	const evil = "/srv/a b;touch${IFS}pasted;'x'"
	for name, c := range map[string]struct {
		on      func(*testing.T) *host
		provoke func(h *host)
		want    string
	}{
		"track_file": {debian, func(h *host) {
			h.edit(vrrp, "vrrp_instance", "track_file drill {\nfile \""+evil+"\"\n}\nvrrp_instance")
			h.write(evil, "-253\n")
		}, "echo 0 >" + files.Quote(evil)},
		"a hook's path": {debian, func(h *host) { h.edit(vrrp, "/usr/sbin/wanfail", "/usr/sbin/x'|e;wanfail") }, `sed -i -E 's/\/usr\/sbin\/x'\''\|e;wanfail/\/usr\/sbin\/wanfail/' ` + vrrp},
		"the file of the hooks": {debian, func(h *host) {
			h.write("/etc/keepalived/$(x).conf", strings.ReplaceAll(h.sys.Text(vrrp), "notify_stop", "#"))
			h.write(vrrp, "include *x).conf\n")
		}, "'/etc/keepalived/$(x).conf'"},
		"an instance's name": {debian, func(h *host) {
			h.edit(vrrp, "VI_1", "VI';x;'")
			h.edit(vrrp, "notify_stop", "#")
		}, `'/^\s*vrrp_instance VI'\'';x;'\'' \{/a notify_stop`},
		"a section's name": {openWrt, func(h *host) {
			h.edit("/etc/config/dhcp", "'lan'", "'lan;x'")
			h.edit("/etc/config/dhcp", "option force '1'", "")
		}, "uci set 'dhcp.lan;x.force=1'"},
		"a hotplug script": {openWrt, func(h *host) {
			h.write("/etc/hotplug.d/keepalived/5;x", "#!/bin/sh\n/etc/init.d/dnsmasq restart\n")
		}, "rm '/etc/hotplug.d/keepalived/5;x'"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.on(t)
			c.provoke(h)
			d := h.examine()
			if len(d.Findings) == 0 || !strings.Contains(d.Findings[0].Fix, c.want) {
				t.Errorf("want %s\nin %+v", c.want, d.Findings)
			}
		})
	}
}

// What a track_file holds is shown only if it is a number: it may be a link to
// what only root can read.
func TestSecretTrackFile(t *testing.T) {
	h := debian(t)
	h.write(vrrp, example(t, "keepalived/keepalived-drill.conf"))
	h.write("/run/wanfail.drill", "root:secret")
	for _, f := range h.examine().Findings {
		if strings.Contains(f.Found, "secret") {
			t.Errorf("%+v", f)
		}
	}
}

// A fix must be able to work where it is printed: OpenWrt's package has no
// examples, what UCI makes is not edited, and a boot undoes what ip(8) does.
func TestFixesThatWork(t *testing.T) {
	down := func(h *host) {
		h.facts.Parents["wan"] = netif.Observed{ParentExists: true, Warnings: []string{"parent eth2 is down; set it up"}}
	}
	for name, c := range map[string]struct {
		on      func(*testing.T) *host
		provoke func(h *host)
		want    string
	}{
		"conntrackd.conf on OpenWrt": {openWrt, func(h *host) {
			h.remove("/usr/share/doc/wanfail")
			h.remove("/etc/conntrackd")
		}, "by hand: write /etc/conntrackd/conntrackd.conf after packaging/conntrackd/conntrackd-lan.conf of the sources: docs/openwrt.md, step 9"},
		"conntrackd.conf, OpenWrt with examples": {openWrt, func(h *host) {
			h.remove("/usr/share/doc/wanfail")
			h.write("/usr/share/wanfail/conntrackd/x", "")
			h.remove("/etc/conntrackd")
		}, "cp /usr/share/wanfail/conntrackd/conntrackd-lan.conf /etc/conntrackd/conntrackd.conf; sed -i /Systemd/d"},
		"firewall on OpenWrt":      {openWrt, func(h *host) { delete(h.outputs, "nft") }, "service firewall enable; service firewall restart"},
		"firewall, bare program":   {debian, func(h *host) { delete(h.outputs, "nft"); h.remove("/usr/share/doc/wanfail") }, "by hand: write /etc/nftables.conf after packaging/nftables/nftables.conf of the sources; then systemctl"},
		"keepalived, bare program": {debian, func(h *host) { h.remove(vrrp); h.remove("/usr/share/doc/wanfail") }, "by hand: write /etc/keepalived/keepalived.conf after"},
		"state, by UCI": {openWrt, func(h *host) {
			h.write("/etc/config/keepalived", "config vrrp_instance 'main'\n\toption name 'VI_1'\n")
			h.edit("/tmp/keepalived.conf", "interface br-lan", "interface br-lan\nstate MASTER")
		}, "uci set keepalived.main.state=BACKUP; uci commit keepalived; service keepalived reload"},
		"adverts, by UCI": {openWrt, func(h *host) {
			h.write("/etc/config/keepalived", "config vrrp_instance 'VI_1'\n")
			h.edit("/tmp/keepalived.conf", "interface br-lan", "interface br-lan\nadvert_int 0.1")
		}, "uci set keepalived.VI_1.version=3; uci commit keepalived"},
		"user, by UCI": {openWrt, func(h *host) {
			h.edit("/tmp/keepalived.conf", "enable_script_security", "script_user nobody")
		}, "uci set keepalived.globals=globals; uci set keepalived.globals.script_user=root; uci commit keepalived"},
		"tracking, by UCI": {openWrt, func(h *host) {
			h.edit("/tmp/keepalived.conf", "track_interface {\neth2\n}", "")
		}, "by hand: in /etc/config/keepalived, which this is made of"},
		"a port that is down, networkd": {debian, down, "ActivationPolicy=always-up"},
		"a port that is down, ifupdown": {debian, func(h *host) {
			h.remove("/run/systemd/netif")
			h.edit("/etc/network/interfaces", "iface eth2 inet manual", "")
			down(h)
		}, `iface eth2 inet manual\n\tup ip link set dev eth2 up\n' >>/etc/network/interfaces; ip link set dev eth2 up`},
		"a port that is down, its stanza": {debian, func(h *host) {
			h.remove("/run/systemd/netif")
			down(h)
		}, `s//auto eth2\n&/' /etc/network/interfaces`},
		"a port that is down, OpenWrt": {openWrt, func(h *host) { h.remove("/run/systemd/netif"); down(h) }, "uci set network.wport.device=eth2; uci commit network; service network reload; ip link set dev eth2 up"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.on(t)
			c.provoke(h)
			d := h.examine()
			if !slices.ContainsFunc(d.Findings, func(f Finding) bool { return strings.Contains(f.Fix, c.want) }) {
				t.Errorf("want %s\nin %+v", c.want, d.Findings)
			}
		})
	}
}
