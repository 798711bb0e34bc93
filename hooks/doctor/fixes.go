package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// The commands of this platform, for what a finding tells people to do. They are
// printed to be pasted: what comes from a file, a path or a name, is quoted.

func quote(text string) string { return files.Quote(text) }

// quoteMeta makes text a pattern of sed -E between slashes.
var quoteMeta = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `*`, `\*`, `+`, `\+`, `?`, `\?`, `(`, `\(`, `)`, `\)`, `[`, `\[`, `{`, `\{`, `|`, `\|`, `^`, `\^`, `$`, `\$`, `/`, `\/`)

func pattern(text string) string { return quoteMeta.Replace(text) }

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

// addLines adds lines to an instance of keepalived.conf.
func (f *Facts) addLines(i *keepalived.Instance, lines ...string) string {
	if f.OpenWrt && i.File == keepalived.UCIFile && strings.HasPrefix(lines[0], "notify") {
		return "by hand: install wanfail again, /etc/hotplug.d/keepalived/50-wanfail is missing"
	}
	if i.File == "" || i.File == keepalived.UCIFile {
		return "by hand: add to " + i.Title() + ": " + strings.Join(lines, "; ")
	}
	var b strings.Builder
	b.WriteString("sed -i -E")
	for _, l := range lines {
		b.WriteString(" -e " + quote(`/^\s*`+pattern(i.Opening)+`/a `+l))
	}
	return b.String() + " " + quote(i.File) + "; " + f.reloadKeepalived()
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
	return "sed -i -E '/^[[:space:]]*" + keyword + "[[:space:]].*wanfail/d' " + strings.Join(files, " ") + "; " + f.reloadKeepalived()
}
