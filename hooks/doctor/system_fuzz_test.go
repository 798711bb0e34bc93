package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/files"
)

// Whatever the files of other programs hold, and these programs print: doctor
// comes to an end, and what it prints has no control characters.
func FuzzSystem(f *testing.F) {
	f.Add("Sync {\n Mode FTFW {\n }\n}\nGeneral { Filter From Userspace { Address Ignore { IPv4_address 127.0.0.1 } } }\n")
	f.Add("iface wan inet dhcp\n[Match]\nName=wan eth*\nKind=!macvlan\n[Network]\nDHCP=yes\n")
	f.Add("config dhcp 'lan'\n\toption interface 'lan'\nconfig zone\n\toption name 'wan'\n\tlist device 'wan'\n\toption masq '1'\n")
	f.Add("set_service_name dnsmasq\n/etc/init.d/dnsmasq restart\nset_service_name \"$(id)\"\n")
	f.Add("table ip nat {\n chain p {\n type nat hook postrouting priority 100; policy accept;\n oifname \"wan\" masquerade\n }\n}\n-A POSTROUTING -o wan -j MASQUERADE\n")
	f.Add("}}}}\n} {\n{{{\noption\n'\n\"\n[\n=\n-o\n!=\n")
	conf := filepath.Join(f.TempDir(), "wanfail.conf")
	if err := os.WriteFile(conf, []byte("config wan 'wan'\n\toption parent 'eth2'\n\toption macaddr '02:00:00:00:00:01'\n"), 0o644); err != nil {
		f.Fatal(err)
	}
	c, err := config.Load(conf)
	if err != nil {
		f.Fatal(err)
	}
	names := []string{
		"etc/conntrackd/conntrackd.conf", "etc/network/interfaces", "etc/network/interfaces.d/more", "etc/systemd/network/10-x.network",
		"etc/config/dhcp", "etc/config/firewall", "etc/config/network", "etc/config/keepalived", "etc/hotplug.d/keepalived/551-x", "etc/hotplug.d/iface/50-miniupnpd",
		"etc/NetworkManager/conf.d/x.conf", "etc/dnsmasq.conf", "etc/keepalived/keepalived.conf",
	}
	empty := []string{"usr/sbin/conntrackd", "sbin/ifup", "run/systemd/netif/x", "usr/sbin/NetworkManager", "sbin/procd", "usr/sbin/dnsmasq"}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range append(empty, names...) {
			path := filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		release := filepath.Join(root, "etc/openwrt_release")
		if _ = os.Remove(release); len(text)%2 == 0 {
			if err := os.WriteFile(release, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		facts := &Facts{Config: c}
		s := System{Tree: files.Tree{Root: root}, Now: time.Now, Run: func(context.Context, string, ...string) ([]byte, error) { return []byte(text), nil }}
		s.Gather(t.Context(), facts)
		for _, found := range Examine(facts).Findings {
			for _, part := range []string{found.Found, found.Why, found.Fix} {
				if i := strings.IndexFunc(part, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
					t.Fatalf("%s: %q", found.ID, part)
				}
			}
		}
	})
}
