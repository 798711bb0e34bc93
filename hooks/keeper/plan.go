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
	cfg := wan.DHCP
	cfg.LeaseFile = leaseFile
	return cfg
}
