package doctor

import (
	"encoding/json"
	"testing"

	"github.com/wanfail/wanfail/hooks"
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
		"peer-macaddr":           func(p *Identity) { p.WANs[0].MAC = "02:00:00:00:00:01" },
		"peer-clientid":          func(p *Identity) { p.WANs[0].ClientID = "01ff" },
		"peer-vendorclass":       func(p *Identity) { p.WANs[0].VendorClass = "x" },
		"peer-userclass":         func(p *Identity) { p.WANs[0].UserClass = "x" },
		"peer-hostname":          func(p *Identity) { p.WANs[0].Hostname = "ar1" },
		"peer-version":           func(p *Identity) { p.Version = "0.9" },
		"peer-wan":               func(p *Identity) { p.WANs = append(p.WANs, WAN{Name: "wan2"}) },
		"peer-virtual-router-id": func(p *Identity) { p.Instances[0].RouterID = "52" },
		"peer-priority":          func(p *Identity) { p.Instances[0].Priority++ },
		"peer-advert-int":        func(p *Identity) { p.Instances[0].Advert = 1 },
		"peer-virtual-ipaddress": func(p *Identity) { p.Instances[0].VIPs = []string{"192.168.10.9/24"} },
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
	both.Role, peer.Role = hooks.Primary, hooks.Primary
	if got := Compare(both, peer); len(got) != 1 || got[0].ID != "peer-role" {
		t.Errorf("two primaries: %+v", got)
	}
	missing := clone()
	missing.WANs = nil
	if got := Compare(mine, missing); len(got) != 1 || got[0].ID != "peer-wan" {
		t.Errorf("no WAN there: %+v", got)
	}
}
