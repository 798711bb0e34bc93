package keeper

import (
	"context"
	"net/netip"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// exchange is the configuration of a DHCP client that compares what a server offers
// with the rest of this router.
func (u *uplink) exchange(ctx context.Context) dhcp.Config {
	c := u.config
	c.Host = func() (dhcp.Host, error) { return u.host(ctx) }
	return c
}

// host is what this router has besides the WAN. It runs in the DHCP client's
// goroutine, and touches only what never changes.
func (u *uplink) host(ctx context.Context) (dhcp.Host, error) {
	o, err := u.kernel.Others(ctx, wan.Link(u.wan))
	if err != nil {
		return dhcp.Host{}, err
	}
	h := dhcp.Host{ParentMTU: o.ParentMTU, Addresses: o.Addresses}
	for _, n := range o.Networks {
		h.Networks = append(h.Networks, dhcp.Network(n))
	}
	if u.virtual.IsValid() {
		h.Networks = append(h.Networks, dhcp.Network{
			Prefix: netip.PrefixFrom(u.virtual, u.virtual.BitLen()), Name: "virtual address, backup_gateway",
		})
		h.Addresses = append(h.Addresses, u.virtual)
	}
	return h, nil
}
