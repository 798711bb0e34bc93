package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// The commands of this platform, for what a finding tells people to do.

// program is where the packages install it.
const program = "/usr/sbin/wanfail"

const examples = "/usr/share/doc/wanfail/examples/"

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
	return "cp " + examples + "keepalived/keepalived.conf /etc/keepalived/; editor /etc/keepalived/keepalived.conf; " + f.restart("keepalived")
}

// sysctl sets one, now and at each boot; the file is the last that is read.
func sysctl(name, value string) string {
	return fmt.Sprintf("echo '%s = %s' >>/etc/sysctl.d/99-wanfail.conf; sysctl -p /etc/sysctl.d/99-wanfail.conf", name, value)
}

// setMAC gives a WAN another MAC address.
func (f *Facts) setMAC(wan, old, to string) string {
	set := fmt.Sprintf("sed -i 's/%s/%s/I' %s", old, to, f.ConfigPath)
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

// addLines adds lines to an instance of keepalived.conf.
func (f *Facts) addLines(i *Instance, lines ...string) string {
	if f.OpenWrt && i.file == "/tmp/keepalived.conf" && strings.HasPrefix(lines[0], "notify") {
		return "by hand: install wanfail again, /etc/hotplug.d/keepalived/50-wanfail is missing"
	}
	if i.file == "" || i.file == "/tmp/keepalived.conf" {
		return "by hand: add to " + i.Title() + ": " + strings.Join(lines, "; ")
	}
	var b strings.Builder
	b.WriteString("sed -i -E")
	for _, l := range lines {
		fmt.Fprintf(&b, " -e '/%s/a %s'", i.opening, l)
	}
	return b.String() + " " + i.file + "; " + f.reloadKeepalived()
}

// removeHooks removes those with a keyword from the files that they are in.
func (f *Facts) removeHooks(have map[string]*Hook, keyword string) string {
	var files []string
	for _, h := range have {
		if file, _, _ := strings.Cut(h.Where, ":"); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return "sed -i -E '/^[[:space:]]*" + keyword + "[[:space:]].*wanfail/d' " + strings.Join(files, " ") + "; " + f.reloadKeepalived()
}
