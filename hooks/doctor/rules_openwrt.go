package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func uciFiles(f *Facts) (all []Finding) {
	for _, t := range f.UCI.Errors {
		all = append(all, one("uci", Error, t.Found, "what the file says could not be looked at", t.Fix)...)
	}
	return all
}

func netifd(f *Facts) (all []Finding) {
	for _, t := range f.UCI.Netifd {
		all = append(all, one("netifd", Error, t.Found+" (/etc/config/network)", "netifd runs a DHCP client of its own there, or takes the interface away", t.Fix)...)
	}
	for _, wan := range f.UCI.Missing {
		all = append(all, one("netifd-wan", Error, "/etc/config/network has no interface '"+wan+"' with proto wanfail",
			"the firewall, dnsmasq and miniupnpd learn of the WAN from netifd, which does not know it",
			uciSet("network."+wan+"=interface", "network."+wan+".proto=wanfail")+"; service network reload")...)
	}
	return all
}

// zone is the one for the WAN: that with its name, else the first that
// masquerades; nil without one.
func (f *Facts) zone() *Zone {
	var best *Zone
	for i := range f.UCI.Zones {
		z := &f.UCI.Zones[i]
		if z.Name == "wan" {
			return z
		}
		if best == nil && z.Masquerades {
			best = z
		}
	}
	return best
}

func zones(f *Facts) (all []Finding) {
	if !f.OpenWrt || len(f.UCI.Zones) == 0 {
		return nil
	}
	masq := map[string]bool{}
	for _, wan := range f.Config.WANs {
		at := slices.IndexFunc(f.UCI.Zones, func(z Zone) bool { return slices.Contains(z.Devices, wan.Name) })
		by := slices.IndexFunc(f.UCI.Zones, func(z Zone) bool { return slices.Contains(z.Network, wan.Name) })
		z := f.zone()
		switch {
		case at >= 0:
			z = &f.UCI.Zones[at]
		case by >= 0:
			z = &f.UCI.Zones[by]
			all = append(all, one("firewall-wan", Warning, fmt.Sprintf("zone '%s' knows %s by network only (/etc/config/firewall)", z.Name, wan.Name),
				"its rules are there when fw4 has been reloaded after a takeover; until then the LAN has no internet",
				uciSet("+"+z.Section+".device="+wan.Name)+"; service firewall reload")...)
		case z == nil:
			all = append(all, one("firewall-wan", Error, "no zone of /etc/config/firewall masquerades, nor names "+wan.Name, "the LAN is not masqueraded there, or its packets are dropped",
				"by hand: add a zone for it: docs/openwrt.md, step 5")...)
			continue
		default:
			all = append(all, one("firewall-wan", Error, "no zone of /etc/config/firewall names "+wan.Name, "the LAN is not masqueraded there, or its packets are dropped",
				uciSet("+"+z.Section+".device="+wan.Name)+"; service firewall reload")...)
		}
		if !z.Masquerades && !masq[z.Section] {
			masq[z.Section] = true
			all = append(all, one("firewall-masquerade", Error, fmt.Sprintf("zone '%s', of %s, has no option masq '1' (/etc/config/firewall)", z.Name, wan.Name),
				"packets of the LAN leave with addresses that nobody can answer", uciSet(z.Section+".masq=1")+"; service firewall reload")...)
		}
	}
	return all
}

// dhcpServed looks at the LANs that keepalived has a virtual address for.
func dhcpServed(f *Facts) (all []Finding) {
	if !slices.Contains(f.Config.Services, "dnsmasq") && !slices.Contains(f.Config.Services, "odhcpd") {
		return nil
	}
	for _, d := range f.UCI.DHCP {
		if !d.Force && d.V4 && slices.Contains(f.Config.Services, "dnsmasq") {
			all = append(all, one("dnsmasq-force", Warning, fmt.Sprintf("dhcp section '%s' has no option force '1'", d.Name),
				"dnsmasq looks for another DHCP server for 3 s when it starts, finds the peer's that is just stopping, and serves no addresses",
				uciSet("dhcp."+d.Name+".force=1"))...)
		}
		vip := f.virtualOn(d.Device)
		if !vip.IsValid() {
			continue
		}
		var lacking, changes []string
		for _, code := range []string{"3", "6"} {
			if !slices.ContainsFunc(d.Options, func(o string) bool { return names(o, code, vip) }) {
				lacking = append(lacking, code)
				changes = append(changes, "+dhcp."+d.Name+".dhcp_option="+code+","+vip.String())
			}
		}
		if len(lacking) > 0 && d.V4 {
			all = append(all, one("dhcp-option", Error, fmt.Sprintf("dhcp section '%s' has no dhcp_option %s with %s", d.Name, strings.Join(lacking, " and "), vip),
				"clients get this router's own address as gateway (3) or resolver (6), and lose it with the router", uciSet(changes...))...)
		}
		if d.RA != "" && d.RA != "disabled" || d.DHCPv6 != "" && d.DHCPv6 != "disabled" {
			all = append(all, one("dhcp-ra", Warning, fmt.Sprintf("dhcp section '%s' announces IPv6 (ra '%s', dhcpv6 '%s')", d.Name, d.RA, d.DHCPv6),
				"the announcements name this router by its own address: they cannot fail over",
				uciSet("dhcp."+d.Name+".ra=disabled", "dhcp."+d.Name+".dhcpv6=disabled"))...)
		}
	}
	return all
}

// names reports whether a dhcp_option, as 3,192.168.10.1 or option:router,..., is
// one with an address.
func names(option, code string, a netip.Addr) bool {
	words := strings.Split(option, ",")
	long := map[string]string{"3": "option:router", "6": "option:dns-server"}[code]
	return (words[0] == code || words[0] == long) && slices.Contains(words[1:], a.String())
}

// virtualOn is the first virtual address on a device.
func (f *Facts) virtualOn(device string) netip.Addr {
	if f.Keepalived == nil || device == "" {
		return netip.Addr{}
	}
	for _, i := range f.Keepalived.Instances {
		for _, a := range i.Virtual() {
			if i.Interface == device && a.Is4() {
				return a
			}
		}
	}
	return netip.Addr{}
}
