package doctor

import (
	"path/filepath"
	"slices"
	"testing"
)

// Which .network file is applied to the WAN, by systemd.network(5).
func TestNetworkFile(t *testing.T) {
	const all = "[Match]\nName=*\n\n[Network]\nDHCP=yes\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string // of the file; "": it is left alone
	}{
		"none":            {nil, ""},
		"every interface": {map[string]string{"50-a.network": all}, "50-a.network"},
		"no match at all": {map[string]string{"50-a.network": "[Network]\nDHCP=yes\n"}, "50-a.network"},
		"the first":       {map[string]string{"50-a.network": all, "10-b.network": "[Match]\nName=w?n\n[Link]\nUnmanaged=true\n"}, ""},
		"hardware":        {map[string]string{"50-a.network": "[Match]\nDriver=igb\nName=*\n"}, ""},
		"kind":            {map[string]string{"50-a.network": "[Match]\nKind=macvlan vlan\n"}, "50-a.network"},
		"another kind":    {map[string]string{"50-a.network": "[Match]\nKind=vlan\nName=wan\n"}, ""},
		"all but":         {map[string]string{"50-a.network": "[Match]\nName=!wan lo\n"}, ""},
		"all but others":  {map[string]string{"50-a.network": "[Match]\nName=!eth* lo\n"}, "50-a.network"},
		"MAC":             {map[string]string{"50-a.network": "[Match]\nMACAddress=02:68:71:2E:62:67\n"}, "50-a.network"},
		"drop-in":         {map[string]string{"50-a.network": all, "50-a.network.d/x.conf": "[Link]\nUnmanaged=yes\n"}, ""},
		"masked":          {map[string]string{"50-a.network": ""}, ""},
		"a comment":       {map[string]string{"50-a.network": "[Match]\n#Name=eth0\nName=wan\n"}, "50-a.network"},
		"of the package":  {map[string]string{"50-a.network": all, "10-wanfail.network": "[Match]\nKind=macvlan\nProperty=WANFAIL=1\n\n[Link]\nUnmanaged=yes\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := debian(t)
			h.remove("/etc/systemd/network")
			h.write("/run/udev/control", "")
			h.write("/usr/lib/udev/rules.d/60-wanfail.rules", "")
			for file, text := range c.files {
				h.write("/etc/systemd/network/"+file, text)
			}
			got := ""
			if n := h.sys.networkFile(device{"wan", "macvlan", "02:68:71:2e:62:67"}); n != nil && !n.unmanaged {
				got = filepath.Base(n.file)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What counts as a rule about the WAN, and as a firewall.
func TestFirewall(t *testing.T) {
	for name, c := range map[string]struct {
		nft, iptables string
		want          []string
		severity      Severity
	}{
		"empty chains":    {nft: "table inet a {\n chain b {\n  type filter hook input priority filter; policy accept;\n }\n}\n", iptables: "# Generated\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", want: []string{"firewall"}, severity: Error},
		"nft":             {nft: "  oifname \"wan\" masquerade\n"},
		"a set":           {nft: "  elements = { \"eth3\",\n \"wan\" }\n  oifname @out masquerade\n"},
		"a wildcard":      {nft: "  oifname \"wa*\" masquerade\n"},
		"an index":        {nft: "  oif \"wan\" masquerade\n", want: []string{"firewall-wan"}, severity: Error},
		"another":         {nft: "  oifname \"wan2\" masquerade\n", want: []string{"firewall-wan"}, severity: Error},
		"by source":       {nft: "  ip saddr 192.168.10.0/24 masquerade\n", want: []string{"firewall-wan"}, severity: Warning},
		"all but LAN":     {nft: "  oifname != \"eth1\" masquerade\n", want: []string{"firewall-wan"}, severity: Warning},
		"iptables":        {iptables: "*nat\n-A POSTROUTING -o wan -j MASQUERADE\n"},
		"iptables, wan+":  {iptables: "*nat\n-A POSTROUTING -o wan+ -j MASQUERADE\n"},
		"iptables, other": {iptables: "*nat\n-A POSTROUTING -o ppp0 -j MASQUERADE\n", want: []string{"firewall-wan"}, severity: Error},
	} {
		t.Run(name, func(t *testing.T) {
			h := debian(t)
			h.outputs["nft"], h.outputs["iptables-save"] = c.nft, c.iptables
			d := h.examine()
			if !slices.Equal(ids(d), c.want) || len(c.want) > 0 && d.Findings[0].Severity != c.severity {
				t.Errorf("got %+v", d.Findings)
			}
		})
	}
}
