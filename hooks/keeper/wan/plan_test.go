package wan

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

func TestPlan(t *testing.T) {
	w := config.WAN{
		Name: "wan", Parent: "eth2", MAC: []byte{2, 0, 0, 0, 0, 1}, Metric: 7, DefaultRoute: true,
	}
	any4 := netip.MustParsePrefix("0.0.0.0/0")
	gw := netip.MustParseAddr("100.64.10.1")
	lease := func(prefix string, left time.Duration) *dhcp.Lease {
		l := &dhcp.Lease{
			Prefix: netip.MustParsePrefix(prefix), MTU: 1400,
			Routes:   []dhcp.Route{{Dst: any4, Gateway: gw}, {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: gw}},
			Acquired: dhcp.BootTime(), TTL: left,
		}
		return l
	}
	bare := netif.Desired{Link: netif.Link{Name: "wan", Parent: "eth2", MAC: w.MAC}}

	if got := Plan(w, nil, dhcp.BootTime()); !reflect.DeepEqual(got, bare) {
		t.Errorf("no lease: %+v", got)
	}
	if got := Plan(w, lease("100.64.10.5/24", -time.Second), dhcp.BootTime()); !reflect.DeepEqual(got, bare) {
		t.Errorf("expired lease: %+v", got)
	}
	got := Plan(w, lease("100.64.10.5/24", time.Hour), dhcp.BootTime())
	if got.Valid <= 59*time.Minute || got.Valid > time.Hour || got.Link.MTU != 1400 || got.Addr.String() != "100.64.10.5/24" {
		t.Errorf("lease: %+v", got)
	}
	if len(got.Routes) != 2 || got.Routes[0] != (netif.Route{Dst: any4, Gateway: gw, Metric: 7}) {
		t.Errorf("routes: %+v", got.Routes)
	}
	if got := Plan(w, lease("100.64.10.5/24", dhcp.Infinite), dhcp.BootTime()); got.Valid != netif.Forever {
		t.Errorf("infinite lease: %v", got.Valid)
	}
	if got := Plan(w, lease("100.64.10.5/32", time.Hour), dhcp.BootTime()); !got.Routes[0].OnLink {
		t.Errorf("a gateway outside of a /32 must be on the link: %+v", got.Routes)
	}
	w.DefaultRoute = false
	if got := Plan(w, lease("100.64.10.5/24", time.Hour), dhcp.BootTime()); len(got.Routes) != 1 || got.Routes[0].Dst == any4 {
		t.Errorf("without a default route: %+v", got.Routes)
	}
}
