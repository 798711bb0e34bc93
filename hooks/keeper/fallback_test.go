package keeper_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/lab/nstest"
	"github.com/wanfail/wanfail/netif"
)

// fallbacks are the gateways of the default routes for the router's own traffic
// while backup; in the main table, where forwarded packets would find them, there
// must be none.
func fallbacks(t *testing.T) (gateways []string) {
	t.Helper()
	for _, table := range []int{254, netif.BackupTable} {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Dst.String() == "0.0.0.0/0" {
				where := r.Gw.String()
				if table == 254 {
					where = "main " + where
				}
				gateways = append(gateways, where)
			}
		}
	}
	return gateways
}

// rules counts the routing rules of a backup.
func rules(t *testing.T) (n int) {
	t.Helper()
	list, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.Protocol == netif.BackupProtocol {
			n++
		}
	}
	return n
}

// only waits for a default route, and for the rules that make it a backup's.
func (w *world) only(gateway string, ruled int) {
	w.t.Helper()
	w.eventually(gateway, 5*time.Second, func() bool {
		g := fallbacks(w.t)
		return len(g) == 1 && g[0] == gateway && rules(w.t) == ruled
	})
}

// vip is the gateway of a backup.
var vip = netip.MustParseAddr("192.168.77.1")

// withLAN gives the router a LAN device, with an address if it is up.
func withLAN(t *testing.T, up bool) netlink.Link {
	t.Helper()
	lan := nstest.New(t)
	lan.Veth(t, "eth1", "lan0")
	l, err := netlink.LinkByName("eth1")
	if err != nil {
		t.Fatal(err)
	}
	if up {
		address(t, l)
	}
	return l
}

func address(t *testing.T, l netlink.Link) {
	t.Helper()
	a, err := netlink.ParseAddr("192.168.77.2/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
}

// While backup the router's own default route leads through the VIP, while
// primary through the WAN alone.
func TestBackupGateway(t *testing.T) {
	w := newWorld(t)
	l := withLAN(t, false)
	w.keeper(func(o *keeper.Options) { o.Config.BackupGateway = vip })

	address(t, l) // The LAN comes up after the keeper: the route appears once it can.
	w.only(vip.String(), 2)
	w.become(intent.Primary)
	if g := fallbacks(t); len(g) != 1 || g[0] != "main 100.64.10.1" || rules(t) != 0 {
		t.Errorf("primary: default routes through %v, %d rules", g, rules(t))
	}
	w.become(intent.Backup)
	w.only(vip.String(), 2)

	// Somebody removes it, or the rules.
	if err := netlink.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Table: netif.BackupTable, Gw: vip.AsSlice(), Protocol: netif.BackupProtocol}); err != nil {
		t.Fatal(err)
	}
	w.only(vip.String(), 2)
	for n := range 2 {
		r := netlink.NewRule()
		r.Priority, r.Family = netif.BackupPriority+n, netlink.FAMILY_V4
		if err := netlink.RuleDel(r); err != nil {
			t.Fatal(err)
		}
	}
	w.only(vip.String(), 2)
}

// A keeper of an earlier version has left the route in the main table, where
// forwarded packets find it.
func TestBackupGatewayOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t)
	l := withLAN(t, true)
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: vip.AsSlice(), Priority: 10_000, Protocol: netif.BackupProtocol}); err != nil {
		t.Fatal(err)
	}
	w.keeper(func(o *keeper.Options) { o.Config.BackupGateway = vip })
	w.only(vip.String(), 2)
}

// Without the option nothing is left of it.
func TestBackupGatewayDeleted(t *testing.T) {
	w := newWorld(t)
	withLAN(t, true)
	stop := w.keeper(func(o *keeper.Options) { o.Config.BackupGateway = vip })
	w.only(vip.String(), 2)
	stop()
	w.only(vip.String(), 2) // a restart changes nothing
	w.keeper()
	w.eventually("neither route nor rules", 5*time.Second, func() bool { return len(fallbacks(t)) == 0 && rules(t) == 0 })
}
