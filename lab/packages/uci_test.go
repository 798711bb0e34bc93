package packages

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// uci is what a router's /etc/config holds, and what the commands of a document
// make of it: option by option, "package.section.option", in order.
type uci struct {
	keys      []string
	values    map[string][]string
	committed map[string]bool // packages; what was set since is not in it
}

// asShipped are the options of a fresh OpenWrt that the documents build on.
func asShipped() *uci {
	u := &uci{values: map[string][]string{}, committed: map[string]bool{}}
	for _, line := range []string{
		"network.lan=interface", "network.lan.device=br-lan", "network.lan.proto=static", "network.lan.ipaddr=192.168.1.1",
		"network.wan=interface", "network.wan.device=wan", "network.wan.proto=dhcp", "network.wan6=interface",
		"network.wan6.device=wan", "network.wan6.proto=dhcpv6",
		"firewall.@zone[0]=zone", "firewall.@zone[0].name=lan", "firewall.@zone[0].network=lan",
		"firewall.@zone[1]=zone", "firewall.@zone[1].name=wan", "firewall.@zone[1].network=wan", "firewall.@zone[1].masq=1",
		"dhcp.lan=dhcp", "dhcp.lan.interface=lan", "dhcp.lan.ra=server", "dhcp.lan.dhcpv6=server",
	} {
		key, value, _ := strings.Cut(line, "=")
		u.set(key, value)
	}
	clear(u.committed)
	return u
}

func (u *uci) set(key string, values ...string) {
	if _, ok := u.values[key]; !ok {
		u.keys = append(u.keys, key)
	}
	u.values[key] = values
	pkg, _, _ := strings.Cut(key, ".")
	u.committed[pkg] = false
}

// command is one of `uci` or of its batch. What a real one refuses is an error.
func (u *uci) command(verb string, args []string) error {
	var key, value string
	if len(args) > 0 {
		key, value, _ = strings.Cut(args[0], "=")
		value = strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'")
	}
	if parts := strings.Split(key, "."); len(parts) == 3 && verb != "delete" && u.values[parts[0]+"."+parts[1]] == nil {
		return fmt.Errorf("uci %s %s: there is no section %s.%s", verb, key, parts[0], parts[1])
	}
	switch verb {
	case "set":
		u.set(key, value)
	case "add_list":
		u.set(key, append(u.values[key], value)...)
	case "delete":
		u.keys = slices.DeleteFunc(u.keys, func(k string) bool { return k == key || strings.HasPrefix(k, key+".") })
		for k := range u.values {
			if !slices.Contains(u.keys, k) {
				delete(u.values, k)
			}
		}
		pkg, _, _ := strings.Cut(key, ".")
		u.committed[pkg] = false
	case "commit":
		for pkg := range u.committed {
			if key == "" || key == pkg {
				u.committed[pkg] = true
			}
		}
	case "show", "batch":
	default:
		return fmt.Errorf("uci %s: this test does not know the command", verb)
	}
	return nil
}

// file is a package of it as it is in /etc/config.
func (u *uci) file(pkg string) string {
	var b strings.Builder
	for _, key := range u.keys {
		parts := strings.Split(key, ".")
		if parts[0] != pkg {
			continue
		}
		if len(parts) == 2 {
			fmt.Fprintf(&b, "\nconfig %s '%s'\n", u.values[key][0], parts[1])
			continue
		}
		for _, v := range u.values[key] {
			kind := "option"
			if len(u.values[key]) > 1 {
				kind = "list"
			}
			fmt.Fprintf(&b, "\t%s %s '%s'\n", kind, parts[2], v)
		}
	}
	return b.String()
}

// show is `uci show PACKAGE`.
func (u *uci) show(pkg string) string {
	var b strings.Builder
	for _, key := range u.keys {
		switch {
		case !strings.HasPrefix(key, pkg+"."):
		case strings.Count(key, ".") == 1:
			fmt.Fprintf(&b, "%s=%s\n", key, u.values[key][0])
		default:
			fmt.Fprintf(&b, "%s='%s'\n", key, strings.Join(u.values[key], "' '"))
		}
	}
	return b.String()
}

var argument = regexp.MustCompile(`\[((?:[^][]|\[[^]]*\])*)\]`)

// apply executes what stand-ins have written down, and returns the other calls.
func (u *uci) apply(t *testing.T, calls []string) (others []string) {
	t.Helper()
	for _, call := range calls {
		name, rest, _ := strings.Cut(call, " ")
		if name != "uci" {
			others = append(others, call)
			continue
		}
		var words []string
		for _, m := range argument.FindAllStringSubmatch(rest, -1) {
			if m[1] != "-q" {
				words = append(words, m[1])
			}
		}
		if err := u.command(words[0], words[1:]); err != nil {
			t.Error(err)
		}
	}
	return others
}
