package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

// Facts are all that the findings rest on.
type Facts struct {
	Version   string
	Config    config.Config
	ConfigErr error
	Keeper    error // why the keeper cannot be asked
	Role      hooks.Role
	Parents   map[string]netif.Observed // by WAN
	ParentErr map[string]error

	OpenWrt       bool
	Keepalived    *Keepalived // nil: none, or unreadable
	KeepalivedErr error

	Enabled   []string          // services of ours that the boot starts
	Claims    map[string]string // WAN or parent: what NetworkManager says of it
	Networkd  map[string]string // WAN: the .network file that applies to it and manages it
	Netifd    []string          // what netifd's configuration says of WANs and parents
	Ifupdown  []string          // interfaces of ours in /etc/network/interfaces
	Sysctl    map[string]string // below /proc/sys, those that matter
	Addresses map[string][]netip.Prefix

	Conntrackd       bool // installed and configured
	ConntrackdIgnore []netip.Prefix
	Firewall         string // what it was read from; "": there is none
	FirewallNames    map[string]bool

	SyncHooks    []string // scripts that start or stop services of ours behind our back
	DHCPUnforced []string // sections of /etc/config/dhcp

	Now  time.Time
	Boot error // why there is no boot id
}

// Gather reads what can be read without asking the kernel through netlink or the
// keeper: those facts the caller has set.
func (s *System) Gather(ctx context.Context, f *Facts) {
	f.Now = s.Now()
	f.OpenWrt = s.exists("/etc/openwrt_release")
	f.Keepalived, f.KeepalivedErr = s.Keepalived()
	s.boot(f)
	s.claims(ctx, f)
	s.sysctl(f)
	s.conntrackd(f)
	s.firewall(ctx, f)
	s.openWrt(f)
	if s.text("/proc/sys/kernel/random/boot_id") == "" {
		f.Boot = errors.New("/proc/sys/kernel/random/boot_id cannot be read")
	}
}

// names are all interfaces of the configuration: WANs, then parents.
func (f *Facts) names() (wans, parents []string) {
	for _, w := range f.Config.WANs {
		wans = append(wans, w.Name)
		if !slices.Contains(parents, w.Parent) {
			parents = append(parents, w.Parent)
		}
	}
	return wans, parents
}

// boot looks at what the boot starts by itself.
func (s *System) boot(f *Facts) {
	for _, name := range f.Config.Services {
		if len(s.glob("", "/etc/systemd/system/*.wants/"+name+".service")) > 0 ||
			len(s.glob("", "/etc/rc.d/S??"+name)) > 0 || // OpenWrt
			!s.exists("/run/systemd/system") && len(s.glob("", "/etc/rc[2-5].d/S??"+name)) > 0 {
			f.Enabled = append(f.Enabled, name)
		}
	}
}

// claims looks for others that configure interfaces.
func (s *System) claims(ctx context.Context, f *Facts) {
	wans, ports := f.names()
	f.Claims, f.Networkd = map[string]string{}, map[string]string{}
	if s.exists("/run/NetworkManager") {
		if out, err := s.Run(ctx, "nmcli", "-t", "-f", "DEVICE,STATE", "device"); err == nil {
			for _, line := range strings.Split(string(out), "\n") {
				device, state, _ := strings.Cut(strings.TrimSpace(line), ":")
				if slices.Contains(append(wans, ports...), device) && state != "unmanaged" {
					f.Claims[device] = state
				}
			}
		}
	}
	if s.exists("/run/systemd/netif") {
		for _, w := range wans {
			if file := s.networkFile(w); file != "" {
				f.Networkd[w] = file
			}
		}
	}
	for _, file := range append([]string{"/etc/network/interfaces"}, s.glob("", "/etc/network/interfaces.d/*")...) {
		for _, line := range s.lines(file) {
			words := strings.Fields(line)
			if len(words) == 4 && words[0] == "iface" && words[2] == "inet" && words[3] != "manual" &&
				slices.Contains(append(wans, ports...), words[1]) {
				f.Ifupdown = append(f.Ifupdown, words[1]+" in "+file)
			}
		}
	}
}

// networkFile is the file by which systemd-networkd manages an interface, by
// systemd.network(5): the first by name that matches, if not Unmanaged.
func (s *System) networkFile(name string) string {
	files := map[string]string{}
	for _, dir := range []string{"/usr/lib", "/run", "/etc"} { // the later wins
		for _, file := range s.glob("", dir+"/systemd/network/*.network") {
			files[path.Base(file)] = file
		}
	}
	var order []string
	for base := range files {
		order = append(order, base)
	}
	slices.Sort(order)
	for _, base := range order {
		section, matches, unmanaged := "", false, false
		for _, line := range s.lines(files[base]) {
			line = strings.TrimSpace(line)
			key, value, _ := strings.Cut(line, "=")
			switch {
			case strings.HasPrefix(line, "["):
				section = line
			case section == "[Match]" && key == "Name":
				for _, pattern := range strings.Fields(value) {
					ok, _ := path.Match(pattern, name)
					matches = matches || ok
				}
			case section == "[Link]" && key == "Unmanaged":
				unmanaged = value == "yes" || value == "true" || value == "1" || value == "on"
			}
		}
		if matches {
			if unmanaged {
				return ""
			}
			return files[base]
		}
	}
	return ""
}

func (s *System) sysctl(f *Facts) {
	f.Sysctl = map[string]string{}
	keys := []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
		"net/netfilter/nf_conntrack_tcp_be_liberal",
	}
	wans, _ := f.names()
	for _, w := range wans {
		keys = append(keys, "net/ipv4/conf/"+w+"/rp_filter")
	}
	for _, key := range keys {
		if v := s.text("/proc/sys/" + key); v != "" {
			f.Sysctl[key] = v
		}
	}
}

// conntrackd looks for its configuration and what it does not replicate.
func (s *System) conntrackd(f *Facts) {
	text := s.text("/etc/conntrackd/conntrackd.conf")
	f.Conntrackd = strings.Contains(text, "Sync") && (s.exists("/usr/sbin/conntrackd") || s.exists("/sbin/conntrackd"))
	_, rest, ok := strings.Cut(uncommented(text), "Address Ignore")
	if !ok {
		return
	}
	inside, _, _ := strings.Cut(rest, "}")
	for _, word := range strings.Fields(inside) {
		if p, err := netip.ParsePrefix(word); err == nil {
			f.ConntrackdIgnore = append(f.ConntrackdIgnore, p)
		} else if a, err := netip.ParseAddr(word); err == nil {
			f.ConntrackdIgnore = append(f.ConntrackdIgnore, netip.PrefixFrom(a, a.BitLen()))
		}
	}
}

func uncommented(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(line + "\n")
	}
	return b.String()
}

// firewall looks for rules about the WANs: fw4's zones, else the rules in force.
func (s *System) firewall(ctx context.Context, f *Facts) {
	f.FirewallNames = map[string]bool{}
	wans, _ := f.names()
	if zones := s.uciFile("firewall"); len(zones) > 0 {
		f.Firewall = "/etc/config/firewall"
		for _, z := range zones {
			for _, w := range wans {
				if z.kind == "zone" && slices.Contains(append(z.options["network"], z.options["device"]...), w) {
					f.FirewallNames[w] = true
				}
			}
		}
		return
	}
	for _, program := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}} {
		out, err := s.Run(ctx, program[0], program[1:]...)
		if err != nil || !strings.Contains(string(out), " ") {
			continue
		}
		f.Firewall = program[0]
		for _, w := range wans {
			if strings.Contains(string(out), strconv.Quote(w)) || strings.Contains(string(out), "o "+w+" ") || strings.Contains(string(out), "i "+w+" ") {
				f.FirewallNames[w] = true
			}
		}
	}
}

// openWrt looks at UCI files and hotplug scripts.
func (s *System) openWrt(f *Facts) {
	wans, ports := f.names()
	for _, i := range s.uciFile("network") {
		device := i.get("device") + i.get("ifname")
		switch {
		case i.kind != "interface":
		case slices.Contains(wans, i.name) && i.get("proto") != "wanfail":
			f.Netifd = append(f.Netifd, "interface '"+i.name+"' has proto '"+i.get("proto")+"'")
		case slices.Contains(ports, device) && i.get("proto") != "none" && i.get("proto") != "wanfail":
			f.Netifd = append(f.Netifd, "interface '"+i.name+"' with proto '"+i.get("proto")+"' is on "+device)
		}
	}
	for _, file := range s.glob("", "/etc/hotplug.d/keepalived/*") {
		text := s.text(file)
		for _, service := range f.Config.Services {
			if path.Base(file) != "50-wanfail" && strings.Contains(text, service) {
				f.SyncHooks = append(f.SyncHooks, file+" ("+service+")")
			}
		}
	}
	if !slices.Contains(f.Config.Services, "dnsmasq") {
		return
	}
	for _, d := range s.uciFile("dhcp") {
		if d.kind == "dhcp" && d.get("interface") != "" && d.get("ignore") != "1" && d.get("force") != "1" {
			f.DHCPUnforced = append(f.DHCPUnforced, d.name)
		}
	}
}

// HostAddresses are those of this computer's interfaces.
func HostAddresses() map[string][]netip.Prefix {
	all := map[string][]netip.Prefix{}
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all[i.Name] = append(all[i.Name], p)
			}
		}
	}
	return all
}
