package doctor

import (
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// Identity is what the two routers compare.
type Identity struct {
	Version   string                 `json:"version"`
	Role      hooks.Role             `json:"role"`
	WANs      []WAN                  `json:"wans"`
	Instances []*keepalived.Instance `json:"vrrp"`
}

// WAN is who a router is to the ISP.
type WAN struct {
	Name        string `json:"name"`
	Instance    string `json:"instance,omitempty"`
	MAC         string `json:"mac"`
	ClientID    string `json:"client_id,omitempty"`
	VendorClass string `json:"vendor_class,omitempty"`
	UserClass   string `json:"user_class,omitempty"`
	Hostname    string `json:"hostname,omitempty"`
}

func (f *Facts) identity() Identity {
	id := Identity{Version: f.Version, Role: f.Role, WANs: []WAN{}, Instances: []*keepalived.Instance{}}
	for _, w := range f.Config.WANs {
		id.WANs = append(id.WANs, WAN{
			Name: w.Name, Instance: w.Instance, MAC: net.HardwareAddr(w.MAC).String(), ClientID: hex.EncodeToString(w.DHCP.ClientID),
			VendorClass: w.DHCP.VendorClass, UserClass: w.DHCP.UserClass, Hostname: w.DHCP.Hostname,
		})
	}
	if f.Keepalived != nil {
		id.Instances = append(id.Instances, f.Keepalived.Instances...)
	}
	return id
}

// Compare finds what must be the same on both routers and is not, and what must
// differ and does not.
func Compare(mine, peer Identity) (all []Finding) {
	if mine.Version != peer.Version {
		all = append(all, one("peer-version", Warning, fmt.Sprintf("this router has wanfail %s, the peer %s", mine.Version, peer.Version),
			"the two have not been tested together", "by hand: upgrade the older one")...)
	}
	if mine.Role == hooks.Primary && peer.Role == hooks.Primary {
		all = append(all, one("peer-role", Error, "both routers are primary", "one MAC address in two places",
			"by hand: let keepalived's adverts through: VRRP is IP protocol 112; see docs/debian.md")...)
	}
	for _, w := range mine.WANs {
		at := slices.IndexFunc(peer.WANs, func(p WAN) bool { return p.Name == w.Name })
		if at < 0 {
			all = append(all, one("peer-wan", Error, "the peer has no wan '"+w.Name+"'", "it cannot take that WAN over", "by hand: the same /etc/wanfail.conf on both routers")...)
			continue
		}
		p := peer.WANs[at]
		for _, c := range [...]struct{ what, mine, peer string }{
			{"macaddr", w.MAC, p.MAC},
			{"clientid", w.ClientID, p.ClientID},
			{"vendorclass", w.VendorClass, p.VendorClass},
			{"userclass", w.UserClass, p.UserClass},
			{"hostname", w.Hostname, p.Hostname},
		} {
			if !strings.EqualFold(c.mine, c.peer) {
				all = append(all, one("peer-"+c.what, Error, fmt.Sprintf("%s of %s is '%s' here and '%s' on the peer", c.what, w.Name, c.mine, c.peer),
					"to the ISP they are two clients, with two addresses: no session survives", "by hand: the same wan section on both routers")...)
			}
		}
	}
	for _, p := range peer.WANs {
		if !slices.ContainsFunc(mine.WANs, func(w WAN) bool { return w.Name == p.Name }) {
			all = append(all, one("peer-wan", Error, "the peer has a wan '"+p.Name+"' that is not here", "this router cannot take that WAN over", "by hand: the same /etc/wanfail.conf on both routers")...)
		}
	}
	return append(all, compareVRRP(mine.Instances, peer.Instances)...)
}

func compareVRRP(mine, peer []*keepalived.Instance) (all []Finding) {
	for _, m := range mine {
		if m.Group {
			continue
		}
		at := slices.IndexFunc(peer, func(p *keepalived.Instance) bool { return !p.Group && p.Name == m.Name })
		if at < 0 {
			all = append(all, one("peer-vrrp", Error, "the peer has no "+m.Title(), "nobody takes over from whom", "by hand: the same vrrp_instance on both routers, but for router_id and priority")...)
			continue
		}
		p := peer[at]
		vips := func(i *keepalived.Instance) string { return strings.Join(slices.Sorted(slices.Values(i.VIPs)), " ") }
		for _, c := range [...]struct{ what, mine, peer string }{
			{"virtual_router_id", m.RouterID, p.RouterID},
			{"vrrp_version", fmt.Sprint(m.Version), fmt.Sprint(p.Version)},
			{"advert_int", fmt.Sprint(m.Advert), fmt.Sprint(p.Advert)},
			{"virtual_ipaddress", vips(m), vips(p)},
		} {
			if c.mine != c.peer {
				all = append(all, one("peer-"+strings.ReplaceAll(c.what, "_", "-"), Error, fmt.Sprintf("%s of %s is '%s' here and '%s' on the peer", c.what, m.Title(), c.mine, c.peer),
					"they do not understand each other's adverts, and both become master", "by hand: the same value on both routers")...)
			}
		}
		if m.Priority == p.Priority {
			all = append(all, one("peer-priority", Warning, fmt.Sprintf("both routers have priority %d in %s", m.Priority, m.Title()),
				"the addresses decide who is master, and after a cut in the LAN nobody can foresee who", "by hand: 250 on one, 220 on the other")...)
		}
	}
	return all
}
