package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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

// nft is what the program prints of a ruleset: chains as TYPE HOOK POLICY, each
// with the statements of its rules.
func nft(chains ...[]string) string {
	var all []string
	for n, c := range chains {
		kind := strings.Fields(c[0])
		all = append(all, fmt.Sprintf(`{"chain":{"family":"inet","table":"t","name":"c%d","type":"%s","hook":"%s","policy":"%s"}}`, n, kind[0], kind[1], kind[2]))
		for _, rule := range c[1:] {
			all = append(all, fmt.Sprintf(`{"rule":{"family":"inet","table":"t","chain":"c%d","expr":[%s]}}`, n, rule))
		}
	}
	return `{"nftables":[` + strings.Join(all, ",") + `]}`
}

// Statements of nft's.
const (
	toWAN      = `{"match":{"op":"==","left":{"meta":{"key":"oifname"}},"right":"wan"}}`
	fromLAN    = `{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth1"}}`
	isVRRP     = `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":"vrrp"}}`
	isSync     = `{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":3780}}`
	masquerade = `{"masquerade":null}`
	accept     = `{"accept":null}`
)

// What the rules in force have to do, and what counts as a firewall. What becomes
// of packets is tested with the programs themselves, in package filter.
func TestFirewall(t *testing.T) {
	nat := []string{"nat postrouting accept", toWAN + "," + masquerade}
	for name, c := range map[string]struct {
		nft      string
		want     []string
		severity Severity
	}{
		"as it should be": {nft: nft(nat, []string{"filter input drop", fromLAN + "," + isVRRP + "," + accept, isSync + "," + accept})},
		"empty chains":    {nft: nft([]string{"filter input accept"}), want: []string{"firewall"}, severity: Error},
		"another":         {nft: nft([]string{"nat postrouting accept", strings.ReplaceAll(toWAN, `"wan"`, `"wan2"`) + "," + masquerade}), want: []string{"firewall-wan"}, severity: Error},
		"by source":       {nft: nft([]string{"nat postrouting accept", masquerade}), want: []string{"firewall-wan"}, severity: Warning},
		"by index":        {nft: nft([]string{"nat postrouting accept", strings.ReplaceAll(toWAN, "oifname", "oif") + "," + masquerade}), want: []string{"firewall-wan"}, severity: Error},
		"only named":      {nft: nft([]string{"filter forward accept", toWAN + "," + accept}), want: []string{"firewall-masquerade"}, severity: Error},
		"no VRRP":         {nft: nft(nat, []string{"filter input drop", isSync + "," + accept}), want: []string{"firewall-vrrp"}, severity: Error},
		"no replication":  {nft: nft(nat, []string{"filter input drop", isVRRP + "," + accept}), want: []string{"firewall-conntrackd"}, severity: Error},
		"no JSON":         {nft: "Error: JSON support not compiled-in", want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := debian(t)
			h.outputs["nft"] = c.nft
			d := h.examine()
			if !slices.Equal(ids(d), c.want) || len(c.want) > 0 && d.Findings[0].Severity != c.severity {
				t.Errorf("got %+v", d.Findings)
			}
		})
	}
	h := debian(t)
	delete(h.outputs, "nft")
	h.outputs["iptables-save"] = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n"
	if d := h.examine(); len(d.Findings) > 0 {
		t.Errorf("iptables: %+v", d.Findings)
	}
}
