package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// claims looks for others that configure interfaces.
func (s *System) claims(ctx context.Context, f *Facts) {
	wans, ports := f.names()
	all := slices.Concat(wans, ports)
	f.Claims, f.Networkd = map[string]string{}, map[string]string{}
	f.Links, f.Quiet, f.Stanzas = map[string]*network{}, map[string]bool{}, map[string]bool{}
	if s.Exists("/run/NetworkManager") {
		if out, err := s.Run(ctx, "nmcli", "-t", "-f", "DEVICE,STATE", "device"); err == nil {
			for _, line := range strings.Split(string(out), "\n") {
				device, state, _ := strings.Cut(strings.TrimSpace(line), ":")
				// What was configured by another is shown, and not touched.
				if slices.Contains(all, device) && state != "unmanaged" && !strings.HasSuffix(state, "(externally)") {
					f.Claims[device] = state
				}
			}
		}
	}
	if f.NetworkdRuns = s.Exists("/run/systemd/netif"); f.NetworkdRuns {
		s.networkd(ctx, f)
		for _, w := range f.Config.WANs {
			if n := s.networkFile(device{w.Name, "macvlan", w.MAC.String()}); n != nil && !n.unmanaged {
				f.Networkd[w.Name] = n.file
			}
			// The port may be managed, to be up and silent.
			if n := s.networkFile(device{w.Parent, "", f.Parents[w.Name].ParentMAC}); n != nil && !n.unmanaged && n.addressed {
				f.Networkd[w.Parent] = n.file
			}
		}
	}
	if f.IfupdownThere = s.Exists("/sbin/ifup") || s.Exists("/usr/sbin/ifup"); f.IfupdownThere {
		s.ifupdown(f, all)
	}
	for _, p := range ports {
		if slices.Contains(f.UCI.Silenced, p) {
			f.Quiet[p] = true
		}
	}
}

// networkd looks at what systemd-networkd makes of links, by its files and, where
// a link is there, by what it says itself.
func (s *System) networkd(ctx context.Context, f *Facts) {
	var list struct {
		Interfaces []struct{ Name, NetworkFile, AdministrativeState string }
	}
	if out, err := s.Run(ctx, "networkctl", "--json=short", "list"); err == nil {
		_ = json.Unmarshal(out, &list)
	}
	wans, ports := f.names()
	for _, i := range list.Interfaces {
		if i.NetworkFile == "" || i.AdministrativeState == "unmanaged" {
			continue
		}
		n := s.network(device{name: i.Name}, s.Lines(i.NetworkFile))
		if slices.Contains(wans, i.Name) || slices.Contains(ports, i.Name) && n != nil && n.addressed {
			f.Networkd[i.Name] = i.NetworkFile
		}
	}
	for _, port := range ports {
		if n := s.networkFile(device{name: port}); n != nil && !n.unmanaged && n.noLinkLocal {
			f.Quiet[port] = true
		}
	}
	for _, c := range f.Conntrackd.Channels {
		if n := s.networkFile(device{name: c.Interface}); c.Interface != "" && n != nil && !n.unmanaged {
			f.Links[c.Interface] = n
		}
	}
	f.WaitOnline = len(s.Glob("/etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online*.service")) > 0
	for _, file := range s.Glob("/{etc,run}/systemd/network/*.network") {
		for _, line := range s.Lines(file) {
			key, value, _ := strings.Cut(strings.ReplaceAll(line, " ", ""), "=")
			if (key == "IPForward" || key == "IPv4Forwarding") && slices.Contains([]string{"yes", "true", "1", "ipv4"}, value) {
				f.Forwards = true
			}
		}
	}
}

func (s *System) ifupdown(f *Facts, names []string) {
	for _, file := range append([]string{"/etc/network/interfaces"}, s.Glob("/etc/network/interfaces.d/*")...) {
		for _, line := range s.Lines(file) {
			words := strings.Fields(line)
			if _, ports := f.names(); len(words) >= 2 && words[0] == "iface" && slices.Contains(ports, words[1]) {
				f.Stanzas[words[1]] = true
			}
			if at := strings.Index(line, "ipv6.conf."); at >= 0 && strings.Contains(line, ".disable_ipv6") { // a line `up sysctl ...`
				port, _, _ := strings.Cut(line[at+len("ipv6.conf."):], ".")
				f.Quiet[port] = true
			}
			if len(words) >= 4 && words[0] == "iface" && strings.HasPrefix(words[2], "inet") && words[3] != "manual" && slices.Contains(names, words[1]) {
				up, now := "", ""
				if f.Stanzas[words[1]] { // the port is up on a backup, too
					up, now = `\n\tup ip link set dev `+words[1]+` up`, "; ip link set dev "+words[1]+" up"
				}
				f.Ifupdown = append(f.Ifupdown, Trap{
					Found: fmt.Sprintf("%s (%s %s) in %s", words[1], words[2], words[3], file),
					Fix: fmt.Sprintf(`ifdown %s; sed -i -E %s %s%s`, words[1],
						quote(fmt.Sprintf(`s/^(\s*iface\s+%s\s+%s\s+)%s.*/\1manual%s/`, pattern(words[1]), pattern(words[2]), pattern(words[3]), up)), quote(file), now),
				})
			}
		}
	}
}

// device is what a [Match] section of systemd.network(5) is compared with.
type device struct{ name, kind, mac string }

// network is what a .network file says.
type network struct {
	file           string
	unmanaged      bool
	addressed      bool // it has an address, or a DHCP client
	noLinkLocal    bool // of IPv6
	requiredOnline bool // a boot waits for it
	withoutCarrier bool // it is configured without one
}

// networkFile is the file that systemd-networkd applies to a device, the first by
// name that matches; nil without one.
func (s *System) networkFile(d device) *network {
	dirs := []string{"/usr/lib", "/usr/local/lib", "/run", "/etc"} // the later wins
	find := func(pattern string) (order []string, files map[string]string) {
		files = map[string]string{}
		for _, dir := range dirs {
			for _, file := range s.Glob(dir + "/systemd/network/" + pattern) {
				if base := path.Base(file); files[base] == "" {
					order = append(order, base)
				}
				files[path.Base(file)] = file
			}
		}
		slices.Sort(order)
		return order, files
	}
	order, files := find("*.network")
	for _, base := range order {
		text := s.Text(files[base])
		if text == "" { // masked
			continue
		}
		lines := strings.Split(text, "\n")
		dropIns, in := find(base + ".d/*.conf")
		for _, more := range dropIns {
			lines = append(lines, s.Lines(in[more])...)
		}
		if n := s.network(d, lines); n != nil {
			n.file = files[base]
			return n
		}
	}
	return nil
}

// network reads a file; nil if it is not for the device.
func (s *System) network(d device, lines []string) *network {
	n, section := &network{requiredOnline: true}, ""
	match := map[string]string{}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		yes := slices.Contains([]string{"yes", "true", "1", "on", "y", "t"}, value)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = line
		case section == "[Match]" && value == "":
			delete(match, key)
		case section == "[Match]":
			match[key] += " " + value
		case section == "[Link]" && key == "Unmanaged":
			n.unmanaged = yes
		case section == "[Link]" && key == "RequiredForOnline":
			n.requiredOnline = !slices.Contains([]string{"no", "false", "0", "off", "n", "f"}, value)
		case section == "[Network]" && key == "ConfigureWithoutCarrier":
			n.withoutCarrier = yes
		case section == "[Network]" && key == "LinkLocalAddressing":
			n.noLinkLocal = slices.Contains([]string{"no", "false", "0", "off", "n", "f", "ipv4"}, value)
		case section == "[Network]" && key == "DHCP":
			n.addressed = n.addressed || yes || strings.HasPrefix(value, "ipv")
		case (section == "[Network]" || section == "[Address]") && key == "Address":
			n.addressed = true
		}
	}
	for key, value := range match {
		if !s.matches(d, key, strings.Fields(value)) {
			return nil
		}
	}
	return n
}

// matches judges one setting of [Match]. Those about the host may hold, those
// about hardware do not hold for a macvlan.
func (s *System) matches(d device, key string, patterns []string) bool {
	is := ""
	switch key {
	case "Name":
		is = d.name
	case "Kind":
		is = d.kind
	case "Type":
		is = "ether"
	case "MACAddress":
		return slices.ContainsFunc(patterns, func(p string) bool { return strings.EqualFold(p, d.mac) })
	case "Property": // what 60-wanfail.rules sets, where udev runs
		return d.kind == "macvlan" && slices.Contains(patterns, "WANFAIL=1") && s.Exists("/run/udev/control") &&
			(s.Exists("/usr/lib/udev/rules.d/60-wanfail.rules") || s.Exists("/etc/udev/rules.d/60-wanfail.rules"))
	case "Path", "Driver", "PermanentMACAddress":
		return d.kind == ""
	case "WLANInterfaceType", "SSID", "BSSID":
		return false
	default:
		return true
	}
	not := strings.HasPrefix(patterns[0], "!") // of all of them
	patterns[0] = strings.TrimPrefix(patterns[0], "!")
	return not != slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, is)
		return ok
	})
}
