package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/lab/guide"
)

// typed are the blocks of an OpenWrt document that are typed on one router.
func typed(t *testing.T, router, file string, sections ...string) string {
	t.Helper()
	var all []string
	for _, section := range sections {
		blocks, err := guide.In(filepath.Join(repo, file), section)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			if b.Where == "" || b.Where == "on "+router || b.Where == "on OpenWrt 25.12 and newer" {
				all = append(all, b.Text)
			}
		}
	}
	return strings.Join(all, "\n")
}

// What README.md and docs/openwrt.md print is typed on an OpenWrt of stand-ins, and
// is what two routers need.
func TestOpenWrtDocuments(t *testing.T) {
	for _, c := range []struct {
		file     string
		sections []string
		sessions bool
	}{
		{"README.md", []string{"OpenWrt in five minutes"}, false},
		{"docs/openwrt.md", []string{"Install", "The WAN", "VRRP"}, true},
	} {
		results := map[string]*uci{}
		for _, router := range []string{"ar0", "ar1"} {
			t.Run(c.file+" "+router, func(t *testing.T) {
				results[router] = typeOpenWrt(t, typed(t, router, c.file, c.sections...), c.sessions)
			})
		}
		// What differs between the routers, and nothing else.
		a, b := results["ar0"], results["ar1"]
		if a == nil || b == nil {
			continue
		}
		var differ []string
		for _, key := range a.keys {
			if !slices.Equal(a.values[key], b.values[key]) {
				differ = append(differ, key)
			}
		}
		slices.Sort(differ)
		want := []string{"keepalived.VI_1.priority", "keepalived.globals.router_id", "network.lan.ipaddr"}
		if !slices.Equal(differ, want) || !slices.Equal(a.keys, b.keys) {
			t.Errorf("%s: the routers differ in %q, want %q", c.file, differ, want)
		}
	}
}

// typeOpenWrt runs the commands and checks what they set.
func typeOpenWrt(t *testing.T, commands string, sessions bool) *uci {
	t.Helper()
	r := openwrt(t)
	for _, p := range []string{
		"sbin/reboot", "usr/bin/apk", "etc/init.d/dnsmasq", "etc/init.d/odhcpd", "etc/init.d/keepalived", "etc/init.d/wanfail",
		"etc/init.d/conntrackd",
	} {
		r.copy(t, "testdata/record", p, 0o755)
	}
	u := asShipped()
	r.answer(t, "uci", `case "$*" in
batch) while read -r line; do [ -z "$line" ] || uci $line; done ;;
"show firewall") cat /firewall ;;
esac`)
	r.write(t, "firewall", u.show("firewall"), 0o644)
	r.mkdir(t, "etc/conntrackd")
	for _, f := range []string{"conntrackd-lan.conf", "conntrackd-link.conf"} {
		r.copy(t, packaging("conntrackd/"+f), "usr/share/wanfail/conntrackd/"+f, 0o644)
	}
	r.write(t, "typed", commands, 0o644)
	res := r.run(t, nil, "/bin/sh", "-eu", "/typed")
	if res.code != 0 {
		t.Fatalf("exit code %d: %s", res.code, res.out)
	}
	others := u.apply(t, res.calls)
	for pkg, ok := range u.committed {
		if !ok {
			t.Errorf("what was set in %s is not committed", pkg)
		}
	}
	wantOthers := []string{
		"apk [update]", "apk [add] [--allow-untrusted] [/tmp/wanfail-*.apk]", "dnsmasq [disable]", "odhcpd [disable]",
	}
	if sessions {
		wantOthers = append(wantOthers, "apk [add] [conntrackd]", "conntrackd [enable]")
	}
	wantOthers = append(wantOthers, "wanfail [enable]", "keepalived [enable]", "reboot")
	if !slices.Equal(others, wantOthers) {
		t.Errorf("commands:\n%s\nwant:\n%s", strings.Join(others, "\n"), strings.Join(wantOthers, "\n"))
	}
	if sessions {
		conf := read(t, r.path("etc/conntrackd/conntrackd.conf"))
		me := u.values["network.lan.ipaddr"][0]
		if strings.Count(conf, "IPv4_address "+me+"\n") < 2 || strings.Contains(conf, "IPv4_Destination_Address "+me) {
			t.Errorf("conntrackd of %s:\n%s", me, conf)
		}
	}

	// The file is one that wanfail takes.
	file := filepath.Join(t.TempDir(), "wanfail")
	if err := os.WriteFile(file, []byte(u.file("wanfail")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil || len(cfg.WANs) != 1 || cfg.WANs[0].Name != "isp" || cfg.WANs[0].Parent != "wan" {
		t.Errorf("wanfail's configuration: %+v, %v\n%s", cfg, err, u.file("wanfail"))
	}
	for key, want := range map[string][]string{
		"network.wan": nil, "network.wan6": nil, "network.isp.proto": {"wanfail"}, "network.isp.device": nil,
		"network.wport.device": {"wan"}, "network.wport.proto": {"none"}, "network.wport_dev.ipv6": {"0"},
		"firewall.@zone[1].network": {"isp"}, "firewall.@zone[1].device": {"isp"}, "firewall.@zone[0].network": {"lan"},
		"dhcp.lan.force": {"1"}, "dhcp.lan.ra": {"disabled"}, "dhcp.lan.dhcp_option": {"3,192.168.10.1", "6,192.168.10.1"},
		"keepalived.globals.enabled": {"1"}, "keepalived.VI_1.state": {"BACKUP"}, "keepalived.VI_1.virtual_ipaddress": {"vip"},
		"keepalived.VI_1.track_interface": {"cable"}, "keepalived.cable.value": {"wan"}, "keepalived.vip.address": {"192.168.10.1/24"},
	} {
		if got := u.values[key]; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	return u
}
