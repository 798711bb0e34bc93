package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// Identity is what the two routers compare.
type Identity struct {
	Version   string                 `json:"version"`
	Role      intent.Role            `json:"role"`
	Options   map[string]string      `json:"options,omitempty"`
	WANs      []WAN                  `json:"wans"`
	Instances []*keepalived.Instance `json:"vrrp"`
	// Addresses are this router's own, on the interfaces of the instances.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// WAN is who a router is to the ISP. Options has all; the others are what it had
// before there were options.
type WAN struct {
	Name        string            `json:"name"`
	Instance    string            `json:"instance,omitempty"`
	MAC         string            `json:"mac"`
	ClientID    string            `json:"client_id,omitempty"`
	VendorClass string            `json:"vendor_class,omitempty"`
	UserClass   string            `json:"user_class,omitempty"`
	Hostname    string            `json:"hostname,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
}

func (f *Facts) identity() Identity {
	id := Identity{Version: f.Version, Role: f.Role, WANs: []WAN{}, Instances: []*keepalived.Instance{}, Options: options(f.Config, commonOfRouter)}
	for _, w := range f.Config.WANs {
		o := options(w, commonOfWAN)
		id.WANs = append(id.WANs, WAN{
			Name: w.Name, Instance: w.Instance, MAC: o["macaddr"], ClientID: o["clientid"],
			VendorClass: w.DHCP.VendorClass, UserClass: w.DHCP.UserClass, Hostname: w.DHCP.Hostname, Options: o,
		})
	}
	if f.Keepalived == nil {
		return id
	}
	for _, i := range f.Keepalived.Instances {
		id.Instances = append(id.Instances, i)
		for _, p := range f.Addresses[i.Interface] {
			if !slices.Contains(id.Addresses, p.Addr()) {
				id.Addresses = append(id.Addresses, p.Addr())
			}
		}
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
	if mine.Role == intent.Primary && peer.Role == intent.Primary {
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
		if p.Options == nil { // of a release that had fewer
			all = append(all, one("peer-options", Warning, "the peer's file does not have all options of "+w.Name, "only who the routers are to the ISP could be compared",
				"by hand: upgrade the older one, and write its file anew")...)
			p.Options = maps.Clone(w.Options)
			p.Options["macaddr"], p.Options["clientid"], p.Options["vendorclass"] = p.MAC, p.ClientID, p.VendorClass
			p.Options["userclass"], p.Options["hostname"] = p.UserClass, p.Hostname
		}
		all = append(all, compareOptions(commonOfWAN, " of "+w.Name, w.Options, p.Options)...)
	}
	for _, p := range peer.WANs {
		if !slices.ContainsFunc(mine.WANs, func(w WAN) bool { return w.Name == p.Name }) {
			all = append(all, one("peer-wan", Error, "the peer has a wan '"+p.Name+"' that is not here", "this router cannot take that WAN over", "by hand: the same /etc/wanfail.conf on both routers")...)
		}
	}
	if peer.Options != nil {
		all = append(all, compareOptions(commonOfRouter, "", mine.Options, peer.Options)...)
	}
	return append(all, compareVRRP(mine, peer)...)
}

func compareVRRP(here, there Identity) (all []Finding) {
	mine, peer := here.Instances, there.Instances
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
			{"authentication", m.Auth, p.Auth},
			{"unicast", casts(m), casts(p)},
		} {
			if c.mine != c.peer {
				all = append(all, one("peer-"+strings.ReplaceAll(c.what, "_", "-"), Error, fmt.Sprintf("%s of %s is '%s' here and '%s' on the peer", c.what, m.Title(), c.mine, c.peer),
					"each router rejects the adverts of the other, and both become master", "by hand: the same value on both routers")...)
			}
		}
		all = append(all, reaches(m, there, "this router", "the peer")...)
		all = append(all, reaches(p, here, "the peer", "this router")...)
		if m.Interface != p.Interface {
			all = append(all, one("peer-interface", Warning, fmt.Sprintf("interface of %s is '%s' here and '%s' on the peer", m.Title(), m.Interface, p.Interface),
				"where these are not two names for one LAN neither receives the adverts of the other, and both become master", "by hand: the interface of the same LAN on both routers")...)
		}
		if m.State == "MASTER" && p.State == "MASTER" {
			all = append(all, one("peer-state", Error, fmt.Sprintf("both routers have state MASTER in %s", m.Title()),
				"each takes the role when it starts, whoever has it: two failovers for each boot, and nopreempt has no effect", "by hand: state BACKUP on both: the priority decides")...)
		}
		if m.Priority == p.Priority {
			all = append(all, one("peer-priority", Warning, fmt.Sprintf("both routers have priority %d in %s", m.Priority, m.Title()),
				"the addresses decide who is master, and after a cut in the LAN nobody can foresee who", "by hand: 250 on one, 220 on the other")...)
		}
	}
	return all
}

// casts is how an instance sends its adverts.
func casts(i *keepalived.Instance) string {
	if len(i.Unicast) > 0 {
		return "unicast"
	}
	return "multicast"
}

// reaches wants the other router among those that an instance sends to.
func reaches(i *keepalived.Instance, other Identity, who, whom string) []Finding {
	if len(i.Unicast) == 0 || len(other.Addresses) == 0 {
		return nil
	}
	for _, a := range other.Addresses {
		if slices.Contains(i.Unicast, a.String()) {
			return nil
		}
	}
	return one("peer-unicast-peer", Error, fmt.Sprintf("%s sends the adverts of %s to %s, and %s has none of these addresses", who, i.Title(), strings.Join(i.Unicast, ", "), whom),
		"neither receives the adverts of the other, and both become master", "by hand: unicast_peer names the other router's unicast_src_ip")
}
