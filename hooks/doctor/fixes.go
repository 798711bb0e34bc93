package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// The commands of this platform, for the fix of a finding. They are
// printed to be pasted: what comes from a file, a path or a name, is quoted.

func quote(text string) string { return files.Quote(text) }

// quoteMeta makes text a pattern of sed -E between slashes.
var quoteMeta = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `*`, `\*`, `+`, `\+`, `?`, `\?`, `(`, `\(`, `)`, `\)`, `[`, `\[`, `{`, `\{`, `|`, `\|`, `^`, `\^`, `$`, `\$`, `/`, `\/`)

func pattern(text string) string { return quoteMeta.Replace(text) }

// program is where the packages install it.
const program = "/usr/sbin/wanfail"

// byHand begins a fix that is no command.
const byHand = "by hand: "

// example copies an example of the package to where it is read, to be edited. A
// bare program has none.
func (f *Facts) example(name, to, step string) string {
	if f.Examples == "" {
		fix := byHand + "write " + to + " after packaging/" + name + " of the sources"
		if f.OpenWrt && step != "" {
			fix += ": " + step
		}
		return fix
	}
	editor := "editor "
	if f.OpenWrt {
		editor = "sed -i /Systemd/d " + to + "; vi "
	}
	return "mkdir -p " + path.Dir(to) + "; cp " + f.Examples + "/" + name + " " + to + "; " + editor + to
}

// addRule is for a person: where a rule belongs only the firewall's author knows.
func (f *Facts) addRule(rule string) string {
	if f.Firewall.From == "nft" {
		return byHand + "in /etc/nftables.conf: " + rule + "; then systemctl reload nftables"
	}
	return byHand + "by iptables, what nft calls: " + rule
}

// admit lets in what the other router sends.
func (f *Facts) admit(name, device, protocol, port, rule string) string {
	if !f.OpenWrt {
		return f.addRule(fmt.Sprintf(`iifname "%s" %s, in the chain of hook input`, device, rule))
	}
	zone := "*"
	for _, z := range f.UCI.Zones {
		if slices.Contains(z.Devices, device) || slices.ContainsFunc(z.Network, func(n string) bool { return f.UCI.Devices[n] == device }) {
			zone = z.Name
		}
	}
	all := []string{
		"uci add firewall rule", "uci set firewall.@rule[-1].name=" + name, "uci set firewall.@rule[-1].src=" + quote(zone),
		"uci set firewall.@rule[-1].proto=" + protocol, "uci set firewall.@rule[-1].target=ACCEPT",
	}
	if port != "" {
		all = append(all, "uci set firewall.@rule[-1].dest_port="+port)
	}
	return strings.Join(append(all, "uci commit firewall", "service firewall reload"), "; ")
}

// bringUp sets a port up, now and at each boot.
func (f *Facts) bringUp(port string) string {
	now := "; ip link set dev " + port + " up"
	switch {
	case f.OpenWrt:
		return uciSet("network.wport=interface", "network.wport.proto=none", "network.wport.device="+port) + "; service network reload" + now
	case f.NetworkdRuns:
		return fmt.Sprintf(`printf '`+portNetwork+`' >/etc/systemd/network/00-wanfail-%[1]s.network; networkctl reload`, port) + now
	case f.Stanzas[port]:
		return fmt.Sprintf(`sed -i -E '0,/^[[:space:]]*iface[[:space:]]+%s[[:space:]]/s//auto %s\n&/' /etc/network/interfaces`, pattern(port), port) + now
	case f.IfupdownThere:
		return fmt.Sprintf(`printf '\nauto %s\niface %[1]s inet manual\n\tup ip link set dev %[1]s up\n' >>/etc/network/interfaces`, port) + now
	}
	return "ip link set dev " + port + " up # and have each boot do so"
}

// portNetwork is a .network file for a port that is up and silent.
const portNetwork = `[Match]\nName=%s\n\n[Link]\nActivationPolicy=always-up\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n`

func (f *Facts) service(verb, name string) string {
	switch {
	case f.OpenWrt:
		return "service " + name + " " + verb
	case f.Systemd:
		return "systemctl " + verb + " " + name
	}
	return "/etc/init.d/" + name + " " + verb
}

func (f *Facts) restart(name string) string { return f.service("restart", name) }

// enable starts a service, now and at each boot.
func (f *Facts) enable(name string) string {
	switch {
	case f.OpenWrt:
		return "service " + name + " enable; service " + name + " start"
	case f.Systemd:
		return "systemctl enable --now " + name
	case name == "wanfail":
		return program + " keeper & # at each boot"
	}
	return "update-rc.d " + name + " defaults; /etc/init.d/" + name + " start"
}

func (f *Facts) disable(name string) string {
	if !f.OpenWrt && !f.Systemd {
		return "update-rc.d " + name + " disable"
	}
	return f.service("disable", name)
}

// reloadKeepalived does not start one that is stopped.
func (f *Facts) reloadKeepalived() string {
	if f.Systemd {
		return "systemctl try-reload-or-restart keepalived"
	}
	return f.service("reload", "keepalived")
}

func (f *Facts) install(name string) string {
	switch {
	case f.OpenWrt && f.Opkg:
		return "opkg update; opkg install " + name + "; "
	case f.OpenWrt:
		return "apk add " + name + "; "
	}
	return "apt install " + name + "; "
}

func (f *Facts) beginKeepalived() string {
	if f.OpenWrt {
		return "uci set keepalived.globals.enabled=1; uci commit keepalived; service keepalived restart # after docs/openwrt.md, step 8"
	}
	fix := f.example("keepalived/keepalived.conf", keepalived.DefaultFile, "")
	if strings.HasPrefix(fix, byHand) {
		return fix + "; then " + f.restart("keepalived")
	}
	return fix + "; " + f.restart("keepalived")
}

// sysctl sets one, now and at each boot; the file is the last that is read.
func sysctl(name, value string) string {
	return fmt.Sprintf("echo '%s = %s' >>/etc/sysctl.d/99-wanfail.conf; sysctl -p /etc/sysctl.d/99-wanfail.conf", name, value)
}

// setMAC gives a WAN another MAC address.
func (f *Facts) setMAC(wan, old, to string) string {
	set := fmt.Sprintf("sed -i 's/%s/%s/I' %s", old, to, quote(f.ConfigPath))
	if f.OpenWrt {
		set = fmt.Sprintf("uci set wanfail.%s.macaddr=%s; uci commit wanfail", wan, to)
	}
	return set + "; " + f.restart("wanfail") + " # the same on both routers"
}

func notifyLine(event string) string {
	if event == "notify_master" {
		return `notify_master "` + program + ` primary"`
	}
	return event + ` "` + program + ` backup"`
}

// uciMade reports whether keepalived's configuration is what OpenWrt's init script
// makes of UCI's: an edit of the file would be lost with the next start.
func (f *Facts) uciMade() bool {
	return f.OpenWrt && f.Keepalived != nil && f.Keepalived.File == keepalived.UCIFile
}

// edit changes keepalived's configuration by options of UCI's, of one instance, or
// else by a program of sed's and the file that it is for.
func (f *Facts) edit(i *keepalived.Instance, uci []string, file string, programs ...string) string {
	if f.uciMade() {
		section := f.section(i)
		if section == "" || len(uci) == 0 {
			return byHand + "in /etc/config/keepalived, which this is made of: " + strings.Join(uci, ", ")
		}
		var changes []string
		for _, u := range uci {
			sign := ""
			if strings.ContainsRune("+-", rune(u[0])) {
				sign, u = u[:1], u[1:]
			}
			changes = append(changes, sign+section+"."+u)
		}
		return uciSet(changes...) + "; " + f.reloadKeepalived()
	}
	var b strings.Builder
	b.WriteString("sed -i -E")
	for _, p := range programs {
		b.WriteString(" -e " + quote(p))
	}
	return b.String() + " " + quote(file) + "; " + f.reloadKeepalived()
}

// addLines adds lines to an instance of keepalived.conf.
func (f *Facts) addLines(i *keepalived.Instance, uci []string, lines ...string) string {
	if f.uciMade() && strings.HasPrefix(lines[0], "notify") {
		return byHand + "install wanfail again, /etc/hotplug.d/keepalived/50-wanfail is missing"
	}
	if i.File == "" && !f.uciMade() {
		return byHand + "add to " + i.Title() + ": " + strings.Join(lines, "; ")
	}
	var programs []string
	for _, l := range lines {
		programs = append(programs, `/^\s*`+pattern(i.Opening)+`/a `+l)
	}
	return f.edit(i, uci, i.File, programs...)
}

// removeHooks removes those with a keyword from the files that they are in.
func (f *Facts) removeHooks(have map[string]*keepalived.Hook, keyword string) string {
	var files []string
	for _, h := range have {
		if file := quote(h.File()); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	if f.uciMade() {
		return byHand + "take the " + keyword + " lines for wanfail out of what /etc/config/keepalived says: /etc/hotplug.d/keepalived/50-wanfail is called by itself"
	}
	return "sed -i -E '/^[[:space:]]*" + keyword + "[[:space:]].*wanfail/d' " + strings.Join(files, " ") + "; " + f.reloadKeepalived()
}
