package keeper

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
)

func TestPlan(t *testing.T) {
	wan := config.WAN{
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
	bare := netif.Desired{Link: netif.Link{Name: "wan", Parent: "eth2", MAC: wan.MAC}}

	if got := plan(wan, nil); !reflect.DeepEqual(got, bare) {
		t.Errorf("no lease: %+v", got)
	}
	if got := plan(wan, lease("100.64.10.5/24", -time.Second)); !reflect.DeepEqual(got, bare) {
		t.Errorf("expired lease: %+v", got)
	}
	got := plan(wan, lease("100.64.10.5/24", time.Hour))
	if got.Valid <= 59*time.Minute || got.Valid > time.Hour || got.Link.MTU != 1400 || got.Addr.String() != "100.64.10.5/24" {
		t.Errorf("lease: %+v", got)
	}
	if len(got.Routes) != 2 || got.Routes[0] != (netif.Route{Dst: any4, Gateway: gw, Metric: 7}) {
		t.Errorf("routes: %+v", got.Routes)
	}
	if got := plan(wan, lease("100.64.10.5/24", dhcp.Infinite)); got.Valid != netif.Forever {
		t.Errorf("infinite lease: %v", got.Valid)
	}
	if got := plan(wan, lease("100.64.10.5/32", time.Hour)); !got.Routes[0].OnLink {
		t.Errorf("a gateway outside of a /32 must be on the link: %+v", got.Routes)
	}
	wan.DefaultRoute = false
	if got := plan(wan, lease("100.64.10.5/24", time.Hour)); len(got.Routes) != 1 || got.Routes[0].Dst == any4 {
		t.Errorf("without a default route: %+v", got.Routes)
	}
}

func TestClientIsTheSameOnBothRouters(t *testing.T) {
	wan := config.WAN{
		Name: "wan", MAC: []byte{2, 0, 0, 0, 0, 1}, Hostname: "gate", VendorClass: "v", UserClass: "u",
		ClientID: []byte{1, 2}, Broadcast: true, RapidCommit: true, Request: []uint8{90}, Priority: 6,
		Send: []config.DHCPOption{{Code: 90, Data: []byte{1}}}, Expect: netip.MustParsePrefix("100.64.0.0/10"),
	}
	file := rundir.At("/run/wanfail").Lease("wan")
	got := client(wan, file)
	want := dhcp.Config{
		Interface: "wan", MAC: wan.MAC, Hostname: "gate", VendorClass: "v", UserClass: "u", ClientID: []byte{1, 2},
		Broadcast: true, RapidCommit: true, Request: []uint8{90}, Priority: 6,
		Send: []dhcp.Option{{Code: 90, Data: []byte{1}}}, Expect: wan.Expect, LeaseFile: file,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
