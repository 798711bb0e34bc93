package keeper

import (
	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/netif"
)

// links are the macvlans of all WANs.
func links(wans []config.WAN) (all []netif.Link) {
	for _, w := range wans {
		all = append(all, wan.Link(w))
	}
	return all
}

// clientConfig is the DHCP side of a WAN.
func clientConfig(wan config.WAN, leaseFile dhcp.File) dhcp.Config {
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
