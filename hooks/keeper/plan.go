package keeper

import (
	"net/netip"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

// link is the macvlan of a WAN.
func link(wan config.WAN) netif.Link {
	return netif.Link{Name: wan.Name, Parent: wan.Parent, MAC: wan.MAC}
}

// plan is what the kernel should hold for a WAN while primary. Without a lease
// that is the bare link, for the DHCP client to speak through.
func plan(wan config.WAN, lease *dhcp.Lease) netif.Desired {
	d := netif.Desired{Link: link(wan)}
	if lease == nil {
		return d
	}
	d.Link.MTU = lease.MTU
	d.Addr = lease.Prefix
	d.Broadcast = lease.Broadcast
	d.Valid = lease.Remaining()
	if lease.TTL == dhcp.Infinite {
		d.Valid = netif.Forever
	}
	for _, r := range lease.Routes {
		if r.Dst.Bits() == 0 && !wan.DefaultRoute {
			continue
		}
		d.Routes = append(d.Routes, netif.Route{
			Dst: r.Dst, Gateway: r.Gateway, Metric: wan.Metric,
			OnLink: offPrefix(r.Gateway, lease.Prefix),
		})
	}
	return d
}

// offPrefix reports whether a gateway can only be reached by declaring it to be
// on the link: /32 leases and gateways of another subnet (RFC 3442, 2.1 local
// subnet routes; common at hosters).
func offPrefix(gateway netip.Addr, prefix netip.Prefix) bool {
	return gateway.IsValid() && !prefix.Masked().Contains(gateway)
}

// client is the DHCP side of a WAN.
func client(wan config.WAN, leaseFile string) dhcp.Config {
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
