package keeper

import (
	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

// link is the macvlan of a WAN.
func link(wan config.WAN) netif.Link {
	return netif.Link{Name: wan.Name, Parent: wan.Parent, MAC: wan.MAC}
}

// links are the macvlans of all WANs.
func links(wans []config.WAN) (all []netif.Link) {
	for _, w := range wans {
		all = append(all, link(w))
	}
	return all
}

// plan is what the kernel should hold for a WAN while primary. Without a lease
// that is the bare link, for the DHCP client to speak through.
func plan(wan config.WAN, lease *dhcp.Lease) netif.Desired {
	d := netif.Desired{Link: link(wan)}
	if lease == nil {
		return d
	}
	valid := lease.Remaining() // dhcp.Infinite is netif.Forever
	if valid <= 0 {
		return d // the client is about to say so
	}
	d.Link.MTU = lease.MTU
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

// client is the DHCP side of a WAN.
func client(wan config.WAN, leaseFile dhcp.File) dhcp.Config {
	cfg := dhcp.Config{
		Interface: wan.Name, MAC: wan.MAC,
		Hostname: wan.Hostname, VendorClass: wan.VendorClass, UserClass: wan.UserClass, ClientID: wan.ClientID,
		Broadcast: wan.Broadcast, RapidCommit: wan.RapidCommit, Request: wan.Request,
		Priority: wan.Priority, Expect: wan.Expect, LeaseFile: leaseFile,
	}
	for _, o := range wan.Send {
		cfg.Send = append(cfg.Send, dhcp.Option{Code: o.Code, Data: o.Data})
	}
	return cfg
}
