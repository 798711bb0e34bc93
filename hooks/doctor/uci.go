package doctor

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
)

// uci is one section of a file of OpenWrt's.
type uci struct {
	kind    string
	name    string // or @kind[2], as uci(1) calls one that has none
	options map[string][]string
}

func (u uci) get(name string) string { return strings.Join(u.options[name], " ") }

// on is a boolean option as OpenWrt's config_get_bool reads it.
func (u uci) on(name string) bool {
	switch u.get(name) {
	case "1", "on", "true", "yes", "enabled":
		return true
	}
	return false
}

// uciFile reads /etc/config/NAME. One that is not there has no sections, and one
// with mistakes is an error.
func (s *System) uciFile(name string) (sections []uci, err error) {
	raw, err := s.Read("/etc/config/" + name)
	if err != nil {
		return nil, nil //nolint:nilerr // a package that is not installed
	}
	all, err := config.Parse(bytes.NewReader(raw))
	count := map[string]int{}
	for _, c := range all {
		u := uci{kind: c.Type, name: c.Name, options: map[string][]string{}}
		if u.name == "" {
			u.name = fmt.Sprintf("@%s[%d]", u.kind, count[u.kind])
		}
		count[u.kind]++
		for _, o := range c.Options {
			u.options[o.Name] = append(u.options[o.Name], strings.Fields(o.Value)...)
		}
		sections = append(sections, u)
	}
	return sections, err
}

// uciSet is the command that sets options, as network.wan.proto=wanfail, and has
// them stored. A command for a list begins with +, one that deletes with -.
func uciSet(changes ...string) string {
	var all, files []string
	for _, c := range changes {
		verb := "set"
		switch c[0] {
		case '+':
			verb, c = "add_list", c[1:]
		case '-':
			verb, c = "-q delete", c[1:]
		}
		all = append(all, "uci "+verb+" "+quote(c))
		if file, _, _ := strings.Cut(c, "."); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	for _, f := range files {
		all = append(all, "uci commit "+f)
	}
	return strings.Join(all, "; ")
}
