package doctor

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
)

func enabledServices(f *Facts) (all []Finding) {
	for _, name := range f.Enabled {
		if f.OpenWrt && name == "miniupnpd" {
			// Its hotplug script, which notifies it of a WAN that comes up late, does nothing
			// for a disabled one; and without a WAN it answers nobody.
			continue
		}
		all = append(all, one("enabled-"+name, Warning, name+" is started at boot",
			"a backup that boots offers DHCP, DNS or UPnP to the LAN until wanfail stops it", f.disable(name))...)
	}
	return all
}

func networkManager(f *Facts) []Finding {
	if len(f.Claims) == 0 {
		return nil
	}
	wans, ports := f.names()
	var found []string
	for _, device := range slices.Sorted(maps.Keys(f.Claims)) {
		found = append(found, device+" ("+f.Claims[device]+")")
	}
	return one("networkmanager", Error, "NetworkManager manages "+strings.Join(found, ", "),
		"it configures interfaces on its own, with a DHCP client and IPv6 of its own",
		fmt.Sprintf(`printf '[keyfile]\nunmanaged-devices+=interface-name:%s\n' >/etc/NetworkManager/conf.d/99-wanfail.conf; nmcli general reload; sleep 1; %s # it takes down what it leaves`,
			strings.Join(slices.Concat(ports, wans), ";interface-name:"), up(ports)))
}

// up sets ports up, for as long as the computer runs.
func up(ports []string) string {
	var all []string
	for _, p := range ports {
		all = append(all, "ip link set dev "+p+" up")
	}
	return strings.Join(all, "; ")
}

func networkd(f *Facts) (all []Finding) {
	wans, _ := f.names()
	for _, name := range slices.Sorted(maps.Keys(f.Networkd)) {
		text, why := `[Match]\nName=%s\n\n[Link]\nUnmanaged=yes\n`, "it removes addresses and routes that are not its own, and configures IPv6 there"
		if !slices.Contains(wans, name) {
			text = `[Match]\nName=%s\n\n[Link]\nActivationPolicy=always-up\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n`
			why = "the port has an address and a MAC address of its own, and the ISP sees two customers"
		}
		all = append(all, one("networkd", Error, fmt.Sprintf("%s makes systemd-networkd configure %s", f.Networkd[name], name), why,
			fmt.Sprintf(`printf '`+text+`' >/etc/systemd/network/00-wanfail-%[1]s.network; networkctl reload`, name))...)
	}
	return all
}

func ifupdown(f *Facts) (all []Finding) {
	for _, t := range f.Ifupdown {
		all = append(all, one("ifupdown", Error, "ifupdown configures "+t.Found, "it raises the interface on a backup, too", t.Fix)...)
	}
	return all
}

func parents(f *Facts) (all []Finding) {
	for _, w := range f.Config.WANs {
		if err := f.ParentErr[w.Name]; err != nil {
			all = append(all, one("kernel", Error, w.Name+": "+err.Error(), "the links could not be looked at", "by hand: the kernel's log may say more")...)
			continue
		}
		for _, text := range f.Parents[w.Name].Warnings {
			severity := Warning
			if !f.Parents[w.Name].ParentExists {
				severity = Error
			}
			found, hint, _ := strings.Cut(text, "; ")
			fix := "by hand: " + hint
			switch {
			case strings.Contains(found, " speaks IPv6 "):
				fix = sysctl("net.ipv6.conf."+strings.ReplaceAll(w.Parent, ".", "/")+".disable_ipv6", "1")
			case strings.Contains(found, " has the address "):
				fix = "ip address flush dev " + w.Parent + " # and take it out of whatever sets it"
			case strings.Contains(found, " is down"):
				fix = f.bringUp(w.Parent)
			case hint == "":
				fix = "by hand: option parent of " + w.Name + " is the port with the cable to the ISP"
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
				"a macvlan cannot have it here, and the backup's port sends with the shared address",
				f.setMAC(w.Name, w.MAC.String(), local(w.MAC)))...)
		case w.MAC[0]&2 == 0:
			all = append(all, one("mac-global", Warning, fmt.Sprintf("macaddr %s of %s is not locally administered", w.MAC, w.Name),
				"it belongs to some card; if that one is on the same wire, both fail",
				f.setMAC(w.Name, w.MAC.String(), local(w.MAC))+", if the ISP does not insist on it")...)
		}
	}
	return all
}

// local is a locally administered address made of another one.
func local(mac net.HardwareAddr) string {
	mac = slices.Clone(mac)
	if mac[0]&2 != 0 {
		mac[0] ^= 4
	}
	mac[0] = mac[0]&^1 | 2
	return mac.String()
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
				sysctl("net.ipv4.conf.all.rp_filter", "2"))...)
		}
	}
	return all
}

func forwarding(f *Facts) []Finding {
	if v, ok := f.Sysctl["net/ipv4/ip_forward"]; !ok || v != "0" {
		return nil
	}
	return one("forwarding", Error, "net.ipv4.ip_forward is 0", "a primary reaches the internet and the LAN behind it does not",
		sysctl("net.ipv4.ip_forward", "1"))
}

// liberalTCP is about window tracking only: without it conntrackd marks each
// session that it commits as liberal.
func liberalTCP(f *Facts) []Finding {
	if f.Sysctl["net/netfilter/nf_conntrack_tcp_be_liberal"] != "0" || !f.Conntrackd.Windows || f.Config.Conntrackd == config.Off {
		return nil
	}
	fix := sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
	if !f.OpenWrt { // which loads the module before it reads the settings
		fix = "echo nf_conntrack >/etc/modules-load.d/wanfail.conf; " + fix
	}
	return one("tcp-liberal", Warning, "conntrackd has TCPWindowTracking, and net.netfilter.nf_conntrack_tcp_be_liberal is 0",
		"the windows of replicated sessions lag behind: after a failover busy ones have packets that count as invalid", fix)
}

func clock(f *Facts) (all []Finding) {
	if f.Now.Year() < 2026 { // no release of wanfail is older
		fix := "timedatectl set-ntp true"
		if f.OpenWrt {
			fix = "service sysntpd restart"
		}
		all = append(all, one("clock", Warning, "the clock says "+f.Now.Format("2006-01-02 15:04"),
			"wanfail does not depend on it, but whoever compares the logs of two routers does", fix+" # a backup reaches a server through its backup_gateway")...)
	}
	if f.Boot != nil {
		all = append(all, one("boot-id", Error, f.Boot.Error(), "neither the recorded role nor a lease can be distinguished from one of an earlier boot", "by hand: mount /proc, with nothing over its files")...)
	}
	return all
}
