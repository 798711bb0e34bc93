package wan

import (
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

// Link is the macvlan of a WAN.
func Link(wan config.WAN) netif.Link {
	return netif.Link{Name: wan.Name, Parent: wan.Parent, MAC: wan.MAC, MTU: wan.MTU}
}

// Plan is what the kernel should hold for a WAN while primary. Without a lease
// that is the bare link, for the DHCP client to send through.
func Plan(wan config.WAN, lease *dhcp.Lease, now time.Duration) netif.Desired {
	d := netif.Desired{Link: Link(wan)}
	if lease == nil {
		return d
	}
	valid := lease.RemainingAt(now) // dhcp.Infinite is netif.Forever
	if valid <= 0 {
		return d // the client is about to say so
	}
	if wan.MTU == 0 {
		d.Link.MTU = lease.MTU
	}
	d.Addr, d.Broadcast, d.Valid = lease.Prefix, lease.Broadcast, valid
	for _, r := range lease.Routes {
		if r.Dst.Bits() == 0 && !wan.DefaultRoute {
			continue
		}
		d.Routes = append(d.Routes, netif.Route{
			Dst: r.Dst, Gateway: r.Gateway, Metric: wan.Metric,
			OnLink: lease.OnLink(r.Gateway),
		})
	}
	return d
}
