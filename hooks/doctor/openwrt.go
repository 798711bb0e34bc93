package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// openWrt looks at UCI files and hotplug scripts.
func (s *System) openWrt(f *Facts) {
	wans, ports := f.names()
	for _, i := range s.uciFile("network") {
		device, proto := i.get("device")+i.get("ifname"), i.get("proto")
		trap := Trap{Found: fmt.Sprintf("interface '%s' has proto '%s'", i.name, proto)}
		switch {
		case i.kind != "interface":
			continue
		case slices.Contains(wans, i.name) && proto != "wanfail":
			trap.Fix = fmt.Sprintf("uci set %s; uci -q delete %s; uci commit network; service network reload", quote("network."+i.name+".proto=wanfail"), quote("network."+i.name+".device"))
		case slices.Contains(ports, device) && proto != "none" && proto != "wanfail":
			trap.Found += " on " + device
			trap.Fix = fmt.Sprintf("uci set %s; uci commit network; service network reload", quote("network."+i.name+".proto=none"))
		default:
			continue
		}
		f.Netifd = append(f.Netifd, trap)
	}
	for _, file := range s.Glob("/etc/hotplug.d/keepalived/*") {
		for _, service := range f.Config.Services {
			if path.Base(file) == "50-wanfail" {
				continue
			}
			if fix := drives(uncommented(s.Text(file)), file, service); fix != "" {
				f.SyncHooks = append(f.SyncHooks, Trap{Found: file + " (" + service + ")", Fix: fix})
			}
		}
	}
	if !slices.Contains(f.Config.Services, "dnsmasq") {
		return
	}
	for _, d := range s.uciFile("dhcp") {
		if d.kind == "dhcp" && d.get("interface") != "" && !d.on("ignore") && d.get("dhcpv4") != "disabled" && !d.on("force") {
			f.DHCPUnforced = append(f.DHCPUnforced, d.name)
		}
	}
}

// drives is how to keep a hotplug script from starting or stopping a service,
// empty if it does not. The library of keepalived's package does so with the
// service that is named, also on a backup whenever a file arrives from the peer;
// without a name it goes on copying the files.
func drives(script, file, service string) string {
	for _, line := range strings.Split(script, "\n") {
		words := strings.Fields(strings.NewReplacer(`"`, "", "'", "", ";", " ", "&", " ").Replace(line))
		for i := range len(words) - 1 {
			of, verb := words[i], words[i+1]
			switch {
			case i == 0 && of == "set_service_name" && verb == service:
				return `sed -i '/^[[:space:]]*set_service_name[[:space:]]/d' ` + quote(file)
			case !slices.Contains([]string{"start", "stop", "restart", "reload"}, verb):
			case of == "/etc/init.d/"+service, of == service && i > 0 && words[i-1] == "service":
				return "rm " + quote(file)
			}
		}
	}
	return ""
}
