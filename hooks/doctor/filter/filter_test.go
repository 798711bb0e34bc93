package filter

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var (
	advert = Packet{In: "eth1", Protocol: "vrrp", From: netip.MustParseAddr("192.168.10.3"), To: netip.MustParseAddr("224.0.0.18"), States: []string{"new"}}
	sync   = Packet{In: "eth3", Protocol: "udp", Port: "3780", From: netip.MustParseAddr("10.99.0.2"), To: netip.MustParseAddr("225.0.0.50"), States: []string{"new"}}
	reply  = Packet{In: "eth3", Protocol: "udp", Port: "3780", From: netip.MustParseAddr("10.99.0.2"), To: netip.MustParseAddr("10.99.0.1"), States: []string{"new", "established"}}
	client = Packet{In: "eth1", Out: "wan", From: netip.MustParseAddr("192.168.10.100"), States: []string{"new"}}
)

// tool runs a program of the image in a network namespace of its own.
func tool(t *testing.T, ns *nstest.NS, root, input string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("chroot", append([]string{root}, args...)...)
	var out, problem bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &problem
	ns.Do(t, cmd.Start)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v, %s", args, err, problem.String())
	}
	return out.Bytes()
}

// What the real nft and iptables print of rules, and what becomes of packets.
func TestRules(t *testing.T) {
	const input = "table inet f {\nchain in {\ntype filter hook input priority 0; policy drop;\n"
	const nat = "table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat;\n"
	example, err := os.ReadFile("../../../packaging/nftables/nftables.conf")
	if err != nil {
		t.Fatal(err)
	}
	root := nstest.Image(t)
	for name, c := range map[string]struct {
		nft, iptables string
		lost          []Packet // of advert, sync, reply
		kept          []Packet
		translates    Translation
		names         bool
	}{
		"nothing":               {kept: []Packet{advert, sync}},
		"accept policy":         {nft: "table inet f {\nchain in {\ntype filter hook input priority 0; policy accept;\n}\n}", kept: []Packet{advert, sync}},
		"drop policy":           {nft: input + "}\n}", lost: []Packet{advert, sync, reply}},
		"the example":           {nft: string(example), kept: []Packet{advert, sync, reply}, translates: Named, names: true},
		"VRRP":                  {nft: input + "iifname eth1 ip protocol vrrp accept\n}\n}", kept: []Packet{advert}, lost: []Packet{sync}},
		"VRRP, number":          {nft: input + "meta l4proto 112 accept\n}\n}", kept: []Packet{advert}, lost: []Packet{sync}},
		"another port":          {nft: input + "iifname eth3 udp dport 3781 accept\n}\n}", lost: []Packet{advert, sync}},
		"a set":                 {nft: input + "iifname { eth3, eth4 } udp dport { 53, 3780 } accept\n}\n}", kept: []Packet{sync}, lost: []Packet{advert}},
		"a named set":           {nft: "table inet f {\nset lan {\ntypeof iifname\nelements = { eth1, eth3 }\n}\nchain in {\ntype filter hook input priority 0; policy drop;\niifname @lan accept\n}\n}", kept: []Packet{advert, sync}},
		"by address":            {nft: input + "ip saddr 192.168.10.0/24 accept\nip daddr 225.0.0.50 accept\n}\n}", kept: []Packet{advert, sync}},
		"a range":               {nft: input + "udp dport 3000-4000 accept\nip saddr 192.168.10.2-192.168.10.9 accept\n}\n}", kept: []Packet{advert, sync}},
		"all but":               {nft: input + "iifname != \"wan\" accept\n}\n}", kept: []Packet{advert, sync}},
		"replies":               {nft: input + "ct state established,related accept\n}\n}", lost: []Packet{advert, sync}, kept: []Packet{reply}},
		"dropped early":         {nft: input + "ip protocol vrrp drop\naccept\n}\n}", lost: []Packet{advert}, kept: []Packet{sync}},
		"another chain":         {nft: "table inet f {\nchain lan {\nip protocol vrrp accept\n}\nchain in {\ntype filter hook input priority 0; policy drop;\niifname vmap { \"eth1\" : jump lan, \"eth3\" : accept }\n}\n}", kept: []Packet{advert, sync}},
		"a chain falls through": {nft: "table inet f {\nchain lan {\ntcp dport 22 accept\nreturn\n}\nchain in {\ntype filter hook input priority 0; policy drop;\njump lan\nip protocol vrrp accept\n}\n}", kept: []Packet{advert}, lost: []Packet{sync}},
		"reject at last":        {nft: "table inet f {\nchain in {\ntype filter hook input priority 0; policy accept;\niifname eth1 accept\nreject\n}\n}", kept: []Packet{advert}, lost: []Packet{sync}},
		"two tables":            {nft: input + "accept\n}\n}\ntable ip g {\nchain in {\ntype filter hook input priority 10; policy drop;\n}\n}", lost: []Packet{advert, sync}},
		"raw":                   {nft: "table ip raw {\nchain pre {\ntype filter hook prerouting priority raw; policy accept;\nip protocol vrrp drop\n}\n}", lost: []Packet{advert}, kept: []Packet{sync}},
		"limited":               {nft: input + "ip protocol vrrp limit rate 10/second accept\n}\n}", kept: []Packet{advert}},
		"masquerade":            {nft: nat + "oifname wan masquerade\n}\n}", translates: Named, names: true},
		"snat":                  {nft: nat + "oifname wan snat to 203.0.113.5\n}\n}", translates: Named, names: true},
		"a wildcard":            {nft: nat + "oifname \"wa*\" masquerade\n}\n}", translates: Named, names: true},
		"named, no masquerade":  {nft: "table inet f {\nchain forwarding {\ntype filter hook forward priority 0; policy accept;\noifname wan accept\n}\n}", names: true},
		"another WAN":           {nft: nat + "oifname wan2 masquerade\n}\n}"},
		"by source":             {nft: nat + "ip saddr 192.168.10.0/24 masquerade\n}\n}", translates: Other},
		"another source":        {nft: nat + "ip saddr 192.168.11.0/24 masquerade\n}\n}"},
		"all but the LAN":       {nft: nat + "oifname != eth1 masquerade\n}\n}", translates: Other},
		"in a chain":            {nft: "table ip nat {\nchain m {\nmasquerade\n}\nchain post {\ntype nat hook postrouting priority srcnat;\noifname { wan, wan2 } jump m\n}\n}", translates: Named, names: true},
		"iptables": {
			iptables: "*filter\n:INPUT DROP [0:0]\n:lan - [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -i eth1 -m comment --comment \"from the LAN\" -j lan\n-A lan -p 112 -j ACCEPT\n-A lan -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan+ -j MASQUERADE\nCOMMIT\n",
			kept:     []Packet{advert, reply}, lost: []Packet{sync}, translates: Named, names: true,
		},
		"iptables, multiport": {
			iptables: "*filter\n:INPUT DROP [0:0]\n-A INPUT ! -i wan -p udp -m multiport --dports 53,3700:3800 -j ACCEPT\nCOMMIT\n",
			kept:     []Packet{sync}, lost: []Packet{advert}, names: false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := nstest.New(t)
			var r *Rules
			if c.iptables != "" {
				tool(t, ns, root, c.iptables, "iptables-restore")
				r = ParseIPTables(string(tool(t, ns, root, "", "iptables-save")))
			} else {
				var err error
				tool(t, ns, root, c.nft, "nft", "-f", "-")
				if r, err = ParseNFT(tool(t, ns, root, "", "nft", "--json", "list", "ruleset")); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range c.lost {
				if !r.Lost(p) {
					t.Errorf("%+v is said to get through", p)
				}
			}
			for _, p := range c.kept {
				if r.Lost(p) {
					t.Errorf("%+v is said to be lost", p)
				}
			}
			if got := r.Translates(client); got != c.translates {
				t.Errorf("translation %d, want %d", got, c.translates)
			}
			if got := r.Names("wan"); got != c.names {
				t.Errorf("names the WAN: %v", got)
			}
			if got := r.Acts(); got != (name != "nothing" && name != "accept policy") {
				t.Errorf("acts: %v", got)
			}
		})
	}
}

// iptables' rules as nft shows them: what it cannot tell may match.
func TestCompat(t *testing.T) {
	root, ns := nstest.Image(t), nstest.New(t)
	tool(t, ns, root, "*filter\n:INPUT DROP [0:0]\n-A INPUT -i eth1 -m comment --comment x -m recent --name a --set -p 112 -j ACCEPT\nCOMMIT\n", "iptables-nft-restore")
	r, err := ParseNFT(tool(t, ns, root, "", "nft", "--json", "list", "ruleset"))
	if err != nil || r.Lost(advert) {
		t.Errorf("lost, %v", err)
	}
}

// A rule by number is lost with the interface.
func TestIndex(t *testing.T) {
	root, ns := nstest.Image(t), nstest.New(t)
	tool(t, ns, root, "table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat;\noif lo masquerade\n}\n}", "nft", "-f", "-")
	r, err := ParseNFT(tool(t, ns, root, "", "nft", "--json", "list", "ruleset"))
	if err != nil || r.Translates(Packet{Out: "lo"}) != None || r.Names("lo") {
		t.Errorf("a rule by number counts, %v", err)
	}
}

// Whatever a program prints: no panic, no endless loop.
func FuzzRules(f *testing.F) {
	f.Add([]byte(`{"nftables":[{"chain":{"family":"ip","table":"t","name":"c","hook":"input","policy":"drop"}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"jump":{"target":"c"}}]}}]}`))
	if b, err := os.ReadFile(filepath.Join("../../../packaging/nftables/iptables.rules")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rules := []*Rules{ParseIPTables(string(b))}
		if r, err := ParseNFT(b); err == nil {
			rules = append(rules, r)
		}
		for _, r := range rules {
			r.Lost(advert)
			r.Translates(client)
			r.Names("wan")
			r.Acts()
		}
	})
}
