package keeper_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/lab/nstest"
	"github.com/wanfail/wanfail/netif"
)

// While backup the default route leads through the VIP, while primary through
// the WAN alone.
func TestBackupGateway(t *testing.T) {
	w := newWorld(t)
	lan := nstest.New(t)
	lan.Veth(t, "eth1", "lan0")
	vip := netip.MustParseAddr("192.168.77.1")
	via := func() (gateways []string) {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: 254}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Dst.String() == "0.0.0.0/0" {
				gateways = append(gateways, r.Gw.String())
			}
		}
		return gateways
	}
	w.keeper(func(o *keeper.Options) { o.Config.BackupGateway = vip })

	// The LAN comes up after the keeper: the route appears once it can.
	l, err := netlink.LinkByName("eth1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr("192.168.77.2/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
	only := func(gateway string) func() bool {
		return func() bool { g := via(); return len(g) == 1 && g[0] == gateway }
	}
	w.eventually("default route through the VIP", 5*time.Second, only(vip.String()))
	w.become(hooks.Primary)
	if !only("100.64.10.1")() {
		t.Errorf("primary: default routes through %v", via())
	}
	w.become(hooks.Backup)
	w.eventually("the VIP again", 5*time.Second, only(vip.String()))

	// Somebody removes it.
	if err := netlink.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: vip.AsSlice(), Priority: 10_000, Protocol: netif.BackupProtocol}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the VIP after somebody removed the route", 5*time.Second, only(vip.String()))
}
