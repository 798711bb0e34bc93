package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
)

// page is a manual page in the man(7) macros.
type page struct{ strings.Builder }

// roff keeps text from being taken for requests or escapes.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func (p *page) request(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) section(title string) { p.request(".SH %s", roff(title)) }

// text writes paragraphs; an empty line separates them.
func (p *page) text(s string) {
	for i, para := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			p.request(".PP")
		}
		p.request("%s", roff(para))
	}
}

// item is a tagged paragraph.
func (p *page) item(tag, text string) {
	p.request(".TP\n.B %s\n%s", roff(tag), roff(text))
}

func manual(app *cli.App) string {
	p := &page{}
	p.request(`.TH WANFAIL 8 "" "wanfail %s" "System Manager's Manual"`, roff(app.Version))
	p.section("NAME")
	p.request(`wanfail \- %s`, roff(app.Usage))
	p.section("SYNOPSIS")
	p.request(".B wanfail\n[%s] %s", roff("global options"), roff("COMMAND [options] [arguments]"))
	p.section("DESCRIPTION")
	p.text(app.Description)
	p.section("GLOBAL OPTIONS")
	p.flags(app.Flags)
	p.section("COMMANDS")
	for _, c := range app.Commands {
		p.request(".SS %s", roff(strings.TrimSpace(strings.Join(c.Names(), ", ")+" "+strings.TrimSpace(c.ArgsUsage))))
		p.text(sentence(c.Usage))
		if c.Description != "" {
			p.request(".PP")
			p.text(c.Description)
		}
		p.flags(c.Flags)
	}
	p.section("EXIT STATUS")
	p.item("0", "The role is reached, or a newer hook has taken its place. check: fit. doctor: nothing found.")
	p.item("1", "The role is reached, but something is degraded, and each thing is named. check: unfit. doctor: warnings. status: no keeper is running.")
	p.item("2", "Usage or configuration: nothing was changed. doctor: errors.")
	p.section("USER SCRIPTS")
	p.text(userScripts)
	p.section("FILES")
	p.item("/etc/wanfail.conf, /etc/config/wanfail", "The configuration, wanfail.conf(5); the second on OpenWrt.")
	p.item("/etc/wanfail/hooks.d", "User scripts.")
	p.item("/run/wanfail", "On OpenWrt /var/run/wanfail: the recorded role, the keeper's socket, the remembered leases, what user scripts have been told, and resolv.conf where nothing else takes the name servers. Nothing in it outlives a boot.")
	p.section("SEE ALSO")
	p.request(".BR wanfail.conf (5),\n.BR keepalived.conf (5),\n.BR conntrackd (8)")
	return p.String()
}

const userScripts = `Executables in /etc/wanfail/hooks.d are run when something happens, with the name
of the event as argument: primary and backup when the role changes, one second
later; bound, changed and lost when a WAN has a lease, another one, or none any
more. A keeper that is restarted tells where it stands if that has not been told
before; what came and went while none ran is not told.

They run in the order of the events, all scripts of an event at the same time,
with low priority, each for 30 s at most and in / . The WAN never waits for them.
A script or directory that others than root could write is refused. Names with
other characters than letters, digits, '-', '_' and '.' are passed over.

The environment has WANFAIL_EVENT and WANFAIL_TIME. With primary and backup:
WANFAIL_ROLE and WANFAIL_BY. With the others: WANFAIL_WAN, WANFAIL_PARENT,
WANFAIL_MAC, WANFAIL_OLD_ADDRESS (changed, lost), and of the lease (bound,
changed) WANFAIL_ADDRESS, WANFAIL_PREFIX, WANFAIL_GATEWAY, WANFAIL_SERVER,
WANFAIL_DNS, WANFAIL_DOMAIN, WANFAIL_SEARCH, WANFAIL_MTU, WANFAIL_LEASE_SECONDS,
WANFAIL_ROUTES (each DESTINATION or DESTINATION>GATEWAY) and, for each DHCP option
of 'option request', WANFAIL_OPTION_n (its number) in hexadecimal. What the lease does not
have is not set. Lists are separated by spaces. All values are validated.

Under systemd each runs in a transient unit of its own (systemd-run), outside of
the sandbox of wanfail.service. What a script that fails has said is in wanfail's
log. Examples are in /usr/share/doc/wanfail/examples/hooks.d, on OpenWrt in
/usr/share/wanfail/hooks.d.`

// flags lists options with the very words of --help.
func (p *page) flags(flags []cli.Flag) {
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquoteUsage(d.GetUsage())
		tag := names(f)
		if d.TakesValue() {
			if placeholder == "" {
				placeholder = "value"
			}
			tag += " " + placeholder
		}
		if text := fallback(d); text != "" {
			usage += " (default: " + text + ")"
		}
		p.item(tag, usage)
	}
}

// fallback is the default as --help shows it.
func fallback(d cli.DocGenerationFlag) string {
	if text := d.GetDefaultText(); text != "" && text != "false" {
		return text
	}
	return ""
}

func names(f cli.Flag) string {
	var all []string
	for _, n := range f.Names() {
		dash := "--"
		if len(n) == 1 {
			dash = "-"
		}
		all = append(all, dash+n)
	}
	return strings.Join(all, ", ")
}

// unquoteUsage takes the `VALUE` out of a usage, as cli does.
func unquoteUsage(usage string) (placeholder, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	name, after, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		return "", usage
	}
	return name, before + name + after
}

func sentence(s string) string {
	s = strings.TrimSuffix(s, ".")
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func configManual(version string) string {
	p := &page{}
	p.request(`.TH WANFAIL.CONF 5 "" "wanfail %s" "File Formats Manual"`, roff(version))
	p.section("NAME")
	p.request(`wanfail.conf \- configuration of wanfail(8)`)
	p.section("SYNOPSIS")
	p.request(".nf\n/etc/wanfail.conf\n/etc/config/wanfail, on OpenWrt\n.fi")
	p.section("DESCRIPTION")
	p.text(`One file in the syntax of UCI, the same on both routers. Sections begin with
config TYPE 'NAME'; in them, option NAME 'VALUE' sets a value, and list NAME
'VALUE' adds one. A comment begins with '#'. Whatever is unknown or impossible is
an error that names the line, and nothing is done with such a file.`)
	p.section("SECTION config wanfail")
	p.text("At most one: what is not about a WAN.")
	p.options("wanfail")
	p.section("SECTION config wan 'NAME'")
	p.text("One for each uplink. The section's name is that of the interface.")
	p.options("wan")
	p.section("EXAMPLE")
	p.request(".nf\n%s.fi", roff(`config wanfail 'globals'
        list service 'dnsmasq'
        list service 'miniupnpd'
        option backup_gateway '192.168.10.1'

config wan 'wan'
        option parent 'eth2'
        option macaddr '02:68:71:2e:62:67'
`))
	p.section("SEE ALSO")
	p.request(".BR wanfail (8)")
	return p.String()
}

func (p *page) options(section string) {
	for _, d := range config.Manual() {
		if d.Section != section {
			continue
		}
		keyword, text := "option ", d.Text
		if d.List {
			keyword = "list "
		}
		if d.Default != "" {
			text += " Default: " + d.Default + "."
		}
		p.item(keyword+d.Name+" "+d.Value, text)
	}
}
