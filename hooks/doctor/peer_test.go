package doctor

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

func TestCompare(t *testing.T) {
	mine := debian(t).examine().Identity
	// Through JSON, as it comes from the other router.
	clone := func() (peer Identity) {
		raw, err := json.Marshal(mine)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &peer); err != nil {
			t.Fatal(err)
		}
		peer.Instances[0].Priority--
		return peer
	}
	if got := Compare(mine, clone()); len(got) > 0 {
		t.Errorf("a pair as it should be: %+v", got)
	}
	for want, change := range map[string]func(p *Identity){
		"peer-macaddr":           func(p *Identity) { p.WANs[0].Options["macaddr"] = "02:00:00:00:00:01" },
		"peer-clientid":          func(p *Identity) { p.WANs[0].Options["clientid"] = "01ff" },
		"peer-vendorclass":       func(p *Identity) { p.WANs[0].Options["vendorclass"] = "x" },
		"peer-userclass":         func(p *Identity) { p.WANs[0].Options["userclass"] = "x" },
		"peer-hostname":          func(p *Identity) { p.WANs[0].Options["hostname"] = "ar1" },
		"peer-version":           func(p *Identity) { p.Version = "0.9" },
		"peer-wan":               func(p *Identity) { p.WANs = append(p.WANs, WAN{Name: "wan2"}) },
		"peer-virtual-router-id": func(p *Identity) { p.Instances[0].RouterID = "52" },
		"peer-priority":          func(p *Identity) { p.Instances[0].Priority++ },
		"peer-advert-int":        func(p *Identity) { p.Instances[0].Advert = 1 },
		"peer-virtual-ipaddress": func(p *Identity) { p.Instances[0].VIPs = []string{"192.168.10.9/24"} },
		"peer-sendopt":           func(p *Identity) { p.WANs[0].Options["sendopt"] = "90:00" },
		"peer-request":           func(p *Identity) { p.WANs[0].Options["request"] = "[90]" },
		"peer-broadcast":         func(p *Identity) { p.WANs[0].Options["broadcast"] = "1" },
		"peer-defaultroute":      func(p *Identity) { delete(p.WANs[0].Options, "defaultroute") },
		"peer-service":           func(p *Identity) { p.Options["service"] = "dnsmasq" },
		"peer-conntrackd":        func(p *Identity) { p.Options["conntrackd"] = "1" },
		"peer-backup-gateway":    func(p *Identity) { p.Options["backup_gateway"] = "192.168.10.1" },
		"peer-options":           func(p *Identity) { p.WANs[0].Options, p.Options = nil, nil },
		"peer-authentication":    func(p *Identity) { p.Instances[0].Auth = "PASS 1234" },
		"peer-interface":         func(p *Identity) { p.Instances[0].Interface = "eth0" },
		"peer-vrrp":              func(p *Identity) { p.Instances[0].Name = "VI_2" },
	} {
		peer := clone()
		change(&peer)
		got := Compare(mine, peer)
		if len(got) != 1 || got[0].ID != want {
			t.Errorf("%s: got %+v", want, got)
		}
	}
	both, peer := mine, clone()
	both.Role, peer.Role = intent.Primary, intent.Primary
	if got := Compare(both, peer); len(got) != 1 || got[0].ID != "peer-role" {
		t.Errorf("two primaries: %+v", got)
	}
	missing := clone()
	missing.WANs = nil
	if got := Compare(mine, missing); len(got) != 1 || got[0].ID != "peer-wan" {
		t.Errorf("no WAN there: %+v", got)
	}
}

// What two instances that differ in more than one thing lead to.
func TestCompareVRRP(t *testing.T) {
	pair := func(change func(m, p *keepalived.Instance)) (mine, peer Identity) {
		m := &keepalived.Instance{Name: "VI_1", Interface: "eth1", Priority: 250}
		p := &keepalived.Instance{Name: "VI_1", Interface: "eth1", Priority: 220}
		change(m, p)
		mine = Identity{Instances: []*keepalived.Instance{m}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.2")}}
		peer = Identity{Instances: []*keepalived.Instance{p}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.10.3")}}
		return mine, peer
	}
	for name, c := range map[string]struct {
		change func(m, p *keepalived.Instance)
		want   []string
	}{
		"both MASTER": {func(m, p *keepalived.Instance) { m.State, p.State = "MASTER", "MASTER" }, []string{"peer-state"}},
		"one MASTER":  {func(m, _ *keepalived.Instance) { m.State = "MASTER" }, nil},
		"unicast": {func(m, p *keepalived.Instance) {
			m.Unicast, p.Unicast = []string{"192.168.10.3"}, []string{"192.168.10.2"}
		}, nil},
		"unicast here only": {func(m, _ *keepalived.Instance) { m.Unicast = []string{"192.168.10.3"} }, []string{"peer-unicast"}},
		"unicast to another": {func(m, p *keepalived.Instance) {
			m.Unicast, p.Unicast = []string{"192.168.10.4"}, []string{"192.168.10.2"}
		}, []string{"peer-unicast-peer"}},
		"unicast back to another": {func(m, p *keepalived.Instance) {
			m.Unicast, p.Unicast = []string{"192.168.10.3"}, []string{"192.168.10.3"}
		}, []string{"peer-unicast-peer"}},
	} {
		mine, peer := pair(c.change)
		if got := ids(Diagnosis{Findings: Compare(mine, peer)}); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// Each field of the configuration is compared, or may differ for a reason: who adds
// an option has to decide.
func TestEachOptionIsCompared(t *testing.T) {
	for kind, fields := range map[reflect.Type]map[string]common{
		reflect.TypeFor[config.Config](): commonOfRouter, reflect.TypeFor[config.WAN](): commonOfWAN,
	} {
		have := fieldsOf(kind)
		for _, name := range have {
			_, compared := fields[name]
			if reason := mayDiffer[name]; compared == (reason != "") {
				t.Errorf("%s of %s: compared %v, may differ because %q; want one of the two", name, kind, compared, reason)
			}
		}
		for name := range fields {
			if !slices.Contains(have, name) {
				t.Errorf("%s has no %s", kind, name)
			}
			if id := "peer-" + strings.ReplaceAll(fields[name].option, "_", "-"); Known(id) == "" {
				t.Errorf("%s is not among IDs", id)
			}
		}
	}
}

// What an option is worth when it is compared.
func TestOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wanfail.conf")
	if err := os.WriteFile(path, []byte("config wan wan\n option parent eth2\n option macaddr 02:00:00:00:00:01\n list sendopt 90:00ff\n list sendopt 43:01\n option request '125 90'\n option expect 203.0.113.0/24\n option clientid 01:aa\n option broadcast 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"macaddr": "02:00:00:00:00:01", "sendopt": "43:01 90:00ff", "request": "90 125", "expect": "203.0.113.0/24", "clientid": "01aa",
		"broadcast": "1", "defaultroute": "1", "peerdns": "1", "rapidcommit": "0",
	}
	if got := options(cfg.WANs[0], commonOfWAN); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
