package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
)

func enabledServices(f *Facts) (all []Finding) {
	for _, name := range f.Enabled {
		fix := "systemctl disable " + name
		if f.OpenWrt {
			fix = "service " + name + " disable"
		}
		all = append(all, one("enabled-"+name, Warning, name+" is started at boot",
			"a backup that boots offers DHCP, DNS or UPnP to the LAN until wanfail stops it", fix)...)
	}
	return all
}

func networkManager(f *Facts) (all []Finding) {
	for _, device := range slices.Sorted(maps.Keys(f.Claims)) {
		all = append(all, one("networkmanager", Error, fmt.Sprintf("NetworkManager manages %s (%s)", device, f.Claims[device]),
			"it configures the interface on its own, with a DHCP client and IPv6 of its own",
			fmt.Sprintf("/etc/NetworkManager/conf.d/wanfail.conf: [keyfile] unmanaged-devices=interface-name:%s; then nmcli general reload", device))...)
	}
	return all
}

func networkd(f *Facts) (all []Finding) {
	for _, wan := range slices.Sorted(maps.Keys(f.Networkd)) {
		all = append(all, one("networkd", Error, fmt.Sprintf("%s makes systemd-networkd manage %s", f.Networkd[wan], wan),
			"it removes addresses and routes that are not its own, and speaks IPv6 there",
			fmt.Sprintf("/etc/systemd/network/10-wanfail.network: [Match] Name=%s, [Link] Unmanaged=yes; then networkctl reload", wan))...)
	}
	return all
}

func netifd(f *Facts) (all []Finding) {
	for _, text := range f.Netifd {
		all = append(all, one("netifd", Error, text+" (/etc/config/network)", "netifd runs a DHCP client of its own there, or takes the interface away",
			"the WAN: proto 'wanfail' and no device; its parent: an interface of its own with proto 'none'")...)
	}
	return all
}

func ifupdown(f *Facts) (all []Finding) {
	for _, text := range f.Ifupdown {
		all = append(all, one("ifupdown", Error, "ifupdown configures "+text, "it raises the interface on a backup, too", "remove the stanza, or make it: inet manual")...)
	}
	return all
}

func parents(f *Facts) (all []Finding) {
	for _, w := range f.Config.WANs {
		if err := f.ParentErr[w.Name]; err != nil {
			all = append(all, one("kernel", Error, w.Name+": "+err.Error(), "the links could not be looked at", "run doctor as root")...)
			continue
		}
		for _, text := range f.Parents[w.Name].Warnings {
			severity := Warning
			if !f.Parents[w.Name].ParentExists {
				severity = Error
			}
			found, fix, ok := strings.Cut(text, "; ")
			if !ok {
				fix = "see docs/debian.md or docs/openwrt.md, the WAN port"
			}
			all = append(all, one("parent", severity, w.Name+": "+found, "the WAN stands or falls with its port, and the ISP should see one MAC address", fix)...)
		}
	}
	return all
}

func macAddress(f *Facts) (all []Finding) {
	for _, w := range f.Config.WANs {
		switch {
		case w.MAC.String() == f.Parents[w.Name].ParentMAC:
			all = append(all, one("mac-parent", Error, fmt.Sprintf("macaddr %s of %s is that of its parent %s", w.MAC, w.Name, w.Parent),
				"a macvlan cannot have it here, and the backup's port speaks with the shared address",
				"choose another macaddr on both routers, or give the port another one: ip link set "+w.Parent+" address ...")...)
		case w.MAC[0]&2 == 0:
			all = append(all, one("mac-global", Warning, fmt.Sprintf("macaddr %s of %s is not locally administered", w.MAC, w.Name),
				"it belongs to some card; if that one is on the same wire, both fail",
				"if the ISP does not insist on it, take one whose first byte is 02, 06, 0a or 0e")...)
		}
	}
	return all
}

func reversePath(f *Facts) (all []Finding) {
	for _, w := range f.Config.WANs {
		own := f.Sysctl["net/ipv4/conf/"+w.Name+"/rp_filter"]
		if own == "" {
			own = f.Sysctl["net/ipv4/conf/default/rp_filter"] // what a new interface gets
		}
		if max(own, f.Sysctl["net/ipv4/conf/all/rp_filter"]) == "1" { // the kernel takes the larger one; 2 is loose
			all = append(all, one("rp-filter", Warning, "strict reverse path filter (rp_filter=1) on "+w.Name,
				"during a switch, and with several WANs, answers arrive where no route to their sender points yet, and are dropped",
				"net.ipv4.conf.all.rp_filter = 2 in /etc/sysctl.d/50-router.conf; then sysctl --system")...)
		}
	}
	return all
}

func forwarding(f *Facts) []Finding {
	if v, ok := f.Sysctl["net/ipv4/ip_forward"]; !ok || v != "0" {
		return nil
	}
	return one("forwarding", Error, "net.ipv4.ip_forward is 0", "a primary reaches the internet and the LAN behind it does not",
		"net.ipv4.ip_forward = 1 in /etc/sysctl.d/50-router.conf; then sysctl --system")
}

func liberalTCP(f *Facts) []Finding {
	if f.Sysctl["net/netfilter/nf_conntrack_tcp_be_liberal"] != "0" || !f.Conntrackd || f.Config.Conntrackd == config.Off {
		return nil
	}
	return one("tcp-liberal", Warning, "net.netfilter.nf_conntrack_tcp_be_liberal is 0",
		"the windows of replicated sessions lag behind: after a failover busy ones have packets that count as invalid",
		"net.netfilter.nf_conntrack_tcp_be_liberal = 1 in /etc/sysctl.d/50-router.conf; then sysctl --system")
}

func conntrackdThere(f *Facts) []Finding {
	if f.Conntrackd || f.Config.Conntrackd == config.Off {
		return nil
	}
	s := Warning
	if f.Config.Conntrackd == config.On {
		s = Error
	}
	return one("conntrackd", s, "conntrackd is not installed, or not configured (/etc/conntrackd/conntrackd.conf)",
		"sessions are not replicated: those in which the other side speaks first are reset by a failover",
		"install it and begin with packaging/conntrackd/conntrackd-lan.conf; or say that you do not want it: option conntrackd '0'")
}

// conntrackdFilter wants the routers' own addresses left out of the replication.
func conntrackdFilter(f *Facts) []Finding {
	if !f.Conntrackd || f.Keepalived == nil || f.Config.Conntrackd == config.Off {
		return nil
	}
	var lacking []string
	need := func(a netip.Addr) {
		covered := slices.ContainsFunc(f.ConntrackdIgnore, func(p netip.Prefix) bool { return p.Contains(a) })
		if a.Is4() && !covered && !slices.Contains(lacking, a.String()) {
			lacking = append(lacking, a.String())
		}
	}
	for _, i := range f.Keepalived.Instances {
		for _, v := range i.VIPs {
			text, _, _ := strings.Cut(v, "/")
			if a, err := netip.ParseAddr(text); err == nil {
				need(a)
			}
		}
		for _, p := range f.Addresses[i.Interface] {
			need(p.Addr())
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return one("conntrackd-filter", Warning, "conntrackd.conf does not ignore the routers' own "+strings.Join(lacking, ", "),
		"sessions of the routers themselves, VRRP and conntrackd's own among them, are replicated and overwrite the peer's",
		"add them to Address Ignore in conntrackd.conf, those of the other router too")
}

func firewall(f *Facts) (all []Finding) {
	if f.Firewall == "" {
		return one("firewall", Error, "no firewall is loaded", "nothing masquerades the LAN and nothing guards it once the WAN is up", "begin with packaging/nftables/nftables.conf")
	}
	for _, w := range f.Config.WANs {
		if f.FirewallNames[w.Name] {
			continue
		}
		fix := fmt.Sprintf("name it in the rules: oifname %q masquerade, iifname %q ...; see packaging/nftables/nftables.conf", w.Name, w.Name)
		if f.OpenWrt {
			fix = "add the network to the zone: uci add_list firewall.@zone[1].network=" + w.Name
		}
		all = append(all, one("firewall-wan", Error, fmt.Sprintf("no rule of %s is about %s", f.Firewall, w.Name),
			"the LAN is not masqueraded there, or its packets are dropped", fix)...)
	}
	return all
}

func dnsmasqForce(f *Facts) (all []Finding) {
	for _, name := range f.DHCPUnforced {
		all = append(all, one("dnsmasq-force", Warning, fmt.Sprintf("dhcp section '%s' has no option force '1'", name),
			"dnsmasq looks for another DHCP server for 3 s when it starts, finds the peer's that is just stopping, and serves no addresses",
			fmt.Sprintf("uci set dhcp.%s.force='1'; uci commit dhcp", name))...)
	}
	return all
}

func clock(f *Facts) (all []Finding) {
	if f.Now.Year() < 2026 { // no release of wanfail is older
		all = append(all, one("clock", Warning, "the clock says "+f.Now.Format("2006-01-02 15:04"),
			"wanfail does not depend on it, but whoever compares the logs of two routers does", "set it: NTP through backup_gateway works on a backup, too")...)
	}
	if f.Boot != nil {
		all = append(all, one("boot-id", Error, f.Boot.Error(), "neither the recorded role nor a lease can be told from one of an earlier boot", "mount /proc")...)
	}
	return all
}
