package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/keepalived"
)

// OpenWrt is what UCI says of the router.
type OpenWrt struct {
	Errors   []Trap            // files with mistakes
	Netifd   []Trap            // what netifd's configuration says of WANs and parents
	Missing  []string          // WANs that netifd does not know
	Devices  map[string]string // of netifd's interfaces
	Zones    []Zone
	DHCP     []DHCP
	VRRP     []Instance // sections of keepalived's file
	Silenced []string   // ports without IPv6
}

// Zone is one of fw4's.
type Zone struct {
	Name, Section    string
	Masquerades      bool
	Devices, Network []string
}

// DHCP is a section that serves addresses.
type DHCP struct {
	Name, Device string
	V4, Force    bool
	Options      []string // as 3,192.168.10.1
	RA, DHCPv6   string
}

// Instance is a vrrp_instance of UCI's.
type Instance struct{ Section, Name string }

// gatherOpenWrt reads UCI's files and hotplug scripts.
func (s *System) gatherOpenWrt(f *Facts) {
	read := func(name string) []uci {
		sections, err := s.uciFile(name)
		if err != nil {
			f.UCI.Errors = append(f.UCI.Errors, Trap{
				Found: fmt.Sprintf("/etc/config/%s: %v", name, err), Fix: "by hand: uci show " + name + " names the line that it cannot read",
			})
			return nil
		}
		return sections
	}
	network := read("network")
	s.netifd(f, network)
	s.zones(f, read("firewall"))
	s.dhcp(f, read("dhcp"), network)
	for _, k := range read("keepalived") {
		if k.kind == "vrrp_instance" {
			f.UCI.VRRP = append(f.UCI.VRRP, Instance{Section: k.name, Name: k.get("name")})
		}
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
}

// netifd looks for interfaces of ours that netifd configures itself, and for WANs
// that it does not know.
func (s *System) netifd(f *Facts, network []uci) {
	wans, ports := f.names()
	known := map[string]bool{}
	f.UCI.Devices = map[string]string{}
	for _, i := range network {
		device, proto := i.get("device")+i.get("ifname"), i.get("proto")
		trap := Trap{Found: fmt.Sprintf("interface '%s' has proto '%s'", i.name, proto)}
		switch {
		case i.kind == "device" && i.get("ipv6") == "0":
			f.UCI.Silenced = append(f.UCI.Silenced, i.get("name"))
			continue
		case i.kind != "interface":
			continue
		case slices.Contains(wans, i.name) && proto != "wanfail":
			trap.Fix = uciSet("network."+i.name+".proto=wanfail", "-network."+i.name+".device")
		case slices.Contains(ports, device) && proto != "none" && proto != "wanfail":
			trap.Found += " on " + device
			trap.Fix = uciSet("network." + i.name + ".proto=none")
		}
		known[i.name] = true
		f.UCI.Devices[i.name] = device
		if trap.Fix != "" {
			trap.Fix += "; service network reload"
			f.UCI.Netifd = append(f.UCI.Netifd, trap)
		}
	}
	for _, wan := range wans {
		if len(network) > 0 && !known[wan] {
			f.UCI.Missing = append(f.UCI.Missing, wan)
		}
	}
}

func (s *System) zones(f *Facts, sections []uci) {
	n := 0
	for _, z := range sections {
		if z.kind != "zone" {
			continue
		}
		f.UCI.Zones = append(f.UCI.Zones, Zone{
			Name: z.get("name"), Section: fmt.Sprintf("firewall.@zone[%d]", n), Masquerades: z.on("masq"),
			Devices: z.options["device"], Network: z.options["network"],
		})
		n++
	}
}

// dhcp looks at what is served on which device.
func (s *System) dhcp(f *Facts, sections, network []uci) {
	for _, d := range sections {
		if d.kind != "dhcp" || d.get("interface") == "" || d.on("ignore") {
			continue
		}
		v := DHCP{Name: d.name, V4: d.get("dhcpv4") != "disabled", Force: d.on("force"), Options: d.options["dhcp_option"], RA: d.get("ra"), DHCPv6: d.get("dhcpv6")}
		for _, i := range network {
			if i.kind == "interface" && i.name == d.get("interface") {
				v.Device = i.get("device") + i.get("ifname")
			}
		}
		f.UCI.DHCP = append(f.UCI.DHCP, v)
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

// section is the section of UCI's that keepalived's instance comes from, "" if
// none.
func (f *Facts) section(i *keepalived.Instance) string {
	for _, u := range f.UCI.VRRP {
		if u.Name == i.Name || u.Section == i.Name {
			return "keepalived." + u.Section
		}
	}
	return ""
}
