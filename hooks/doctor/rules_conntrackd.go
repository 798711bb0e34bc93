package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
)

// replicates reports whether conntrackd is to be looked at.
func (f *Facts) replicates() bool {
	return f.Conntrackd.Installed && f.Conntrackd.Configured && f.Config.Conntrackd != config.Off
}

func conntrackdThere(f *Facts) []Finding {
	c := &f.Conntrackd
	if c.Running && c.Configured || f.Config.Conntrackd == config.Off {
		return nil
	}
	// A router that has it configured counts on it.
	severity := Warning
	if f.Config.Conntrackd == config.On || c.Installed && c.Configured {
		severity = Error
	}
	found, fix := "conntrackd is not running", f.enable("conntrackd")
	switch {
	case !c.Configured:
		found = "conntrackd does not replicate: " + conntrackdConf + " has no Sync section"
		fix = f.example("conntrackd/conntrackd-lan.conf", conntrackdConf, "docs/openwrt.md, step 9")
		if !strings.HasPrefix(fix, byHand) {
			fix += "; " + f.enable("conntrackd") + "; " + f.restart("conntrackd")
		}
	case c.Failure != "":
		found = "conntrackd does not stay: " + c.Failure
		if f.Systemd { // its limit of starts has been reached
			fix = "systemctl reset-failed conntrackd; " + fix
		}
	}
	if !c.Installed {
		found = "conntrackd is not installed"
		if !strings.HasPrefix(fix, byHand) {
			fix = f.install("conntrackd") + fix
		}
	}
	if !strings.HasPrefix(fix, byHand) {
		fix += " # or, if you do not want it, option conntrackd '0' in " + f.ConfigPath
	}
	return one("conntrackd", severity, found, "sessions are not replicated: those in which the next packet comes from the internet are reset by a failover", fix)
}

// conntrackdFilter wants the routers' own addresses left out of the replication.
func conntrackdFilter(f *Facts) []Finding {
	if !f.Conntrackd.Configured || f.Keepalived == nil || f.Config.Conntrackd == config.Off {
		return nil
	}
	var lacking []string
	need := func(a netip.Addr) {
		list := f.Conntrackd.Ignore
		if f.Conntrackd.Accepts {
			list = f.Conntrackd.Accept
		}
		covered := f.Conntrackd.Accepts != slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
		if a.Is4() && !covered && !slices.Contains(lacking, a.String()) {
			lacking = append(lacking, a.String())
		}
	}
	for _, c := range f.Conntrackd.Channels {
		need(c.Own)
	}
	for _, i := range f.Keepalived.Instances {
		for _, a := range i.Virtual() {
			need(a)
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
		f.ignore(lacking)+" # those of the other router, too")
}

// ignore adds addresses to what conntrackd does not replicate.
func (f *Facts) ignore(addresses []string) string {
	at, before, after := "Address Ignore", "", ""
	if !f.Conntrackd.Ignores {
		at, before, after = "Filter", "Address Ignore {", "}"
	}
	if !f.Conntrackd.Filter {
		at, before, after = "General", "Filter From Userspace { Address Ignore {", "} }"
	}
	list := "IPv4_address " + strings.Join(addresses, `\nIPv4_address `)
	if before != "" {
		list = before + `\n` + list + `\n` + after
	}
	return fmt.Sprintf(`sed -i -E '/^[[:space:]]*%s[^#]*\{/a %s' %s; %s`, at, list, conntrackdConf, f.restart("conntrackd"))
}

// conntrackdLink looks whether the way to the peer is there: conntrackd itself
// starts without one, or with one that leads nowhere.
func conntrackdLink(f *Facts) (all []Finding) {
	if !f.replicates() {
		return nil
	}
	bad := func(format string, args ...any) {
		all = append(all, one("conntrackd-link", Error, conntrackdConf+": "+fmt.Sprintf(format, args...), "nothing is replicated over that link",
			byHand+"the Interface of the link to the other router, and its address here; then "+f.restart("conntrackd"))...)
	}
	if len(f.Conntrackd.Channels) == 0 {
		bad("Sync has neither a UDP nor a Multicast section")
	}
	for _, c := range f.Conntrackd.Channels {
		own, exists := f.Addresses[c.Interface]
		on := ""
		for _, device := range f.Addresses.Devices() {
			if slices.ContainsFunc(f.Addresses[device], func(p netip.Prefix) bool { return p.Addr() == c.Own }) {
				on = device
			}
		}
		switch {
		case c.Interface == "":
			bad("the %s section names no Interface", c.Kind)
		case !exists:
			bad("there is no interface %s", c.Interface)
		case c.Own.IsValid() && on == "":
			bad("no interface has the address %s, %s has %s", c.Own, c.Interface, listed(own))
		case c.Own.IsValid() && !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr() == c.Own }):
			bad("the address %s is on %s, not on %s", c.Own, on, c.Interface)
		}
	}
	return all
}

func listed(prefixes []netip.Prefix) string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// minHash is the least HashSize with which conntrackd 1.4.7 ends a commit: with
// 8192 buckets or less it does all in one step, and never marks that as ended.
const minHash = 8193

func conntrackdHash(f *Facts) []Finding {
	if !f.replicates() || f.Conntrackd.HashSize >= minHash {
		return nil
	}
	found, edit := fmt.Sprintf("HashSize is %d", f.Conntrackd.HashSize), `s/^([[:space:]]*HashSize)[[:space:]].*/\1 65536/`
	if f.Conntrackd.HashSize == 0 {
		found, edit = "HashSize is not set, which means 8192", `/^[[:space:]]*General[[:space:]]*\{/a HashSize 65536`
	}
	return one("conntrackd-hash", Warning, conntrackdConf+": "+found,
		"with so few buckets conntrackd does not end a commit: it refuses to flush or commit afterwards, until it is restarted",
		fmt.Sprintf("sed -i -E '%s' %s; %s", edit, conntrackdConf, f.restart("conntrackd")))
}

// conntrackdUnit is about Debian's unit: it is started before the link to the peer
// has its address, and given up after five attempts.
func conntrackdUnit(f *Facts) []Finding {
	u := f.Conntrackd.Unit
	if !f.replicates() || u == nil || u["LoadState"] != "loaded" {
		return nil
	}
	after := strings.Fields(u["After"])
	ordered := slices.Contains(after, "network.target") || slices.Contains(after, "network-online.target")
	limited := u["StartLimitIntervalUSec"] != "0" && u["StartLimitIntervalUSec"] != "infinity"
	if ordered && !limited {
		return nil
	}
	var found []string
	if !ordered {
		found = append(found, "does not wait for the network")
	}
	if limited {
		found = append(found, "is given up after some failed starts")
	}
	return one("conntrackd-unit", Warning, "conntrackd.service "+strings.Join(found, " and "),
		"a boot in which the link to the peer is late leaves it dead, and the next failover loses the sessions",
		`mkdir -p /etc/systemd/system/conntrackd.service.d; printf '[Unit]\nAfter=network.target\nStartLimitIntervalSec=0\n\n[Service]\nRestart=always\nRestartSec=1\n' >/etc/systemd/system/conntrackd.service.d/wanfail.conf; systemctl daemon-reload`)
}

// networkdLink is about networkd where it configures the link to the peer: without
// carrier, the peer is off, it gives it no address and holds up the boot.
func networkdLink(f *Facts) (all []Finding) {
	if !f.replicates() || !f.WaitOnline {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.Links)) {
		l := f.Links[name]
		if l.withoutCarrier && !l.requiredOnline {
			continue
		}
		all = append(all, one("networkd-link", Warning, fmt.Sprintf("%s lets %s wait for a carrier", l.file, name),
			"while the peer is off the link has no carrier: systemd-networkd gives it no address, conntrackd does not start, and a boot waits 120 s before keepalived",
			fmt.Sprintf(`mkdir -p %[1]s; printf '[Link]\nRequiredForOnline=no\n\n[Network]\nConfigureWithoutCarrier=yes\n' >%[1]s/wanfail.conf; networkctl reload`,
				quote("/etc/systemd/network/"+path.Base(l.file)+".d")))...)
	}
	return all
}
