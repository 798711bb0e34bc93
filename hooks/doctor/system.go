package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/files"
)

// System is where facts come from: this computer, or a directory of a test.
type System struct {
	files.Tree
	// Run runs a program and returns its output. An error is no output.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	Now func() time.Time
}

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

// uciFile reads /etc/config/NAME, leniently: not all of it is wanfail's to judge.
func (s *System) uciFile(name string) (sections []uci) {
	count := map[string]int{}
	for _, line := range s.Lines("/etc/config/" + name) {
		words := splitUCI(strings.TrimSpace(line))
		switch {
		case len(words) >= 2 && words[0] == "config":
			u := uci{kind: words[1], options: map[string][]string{}}
			if u.name = fmt.Sprintf("@%s[%d]", u.kind, count[u.kind]); len(words) > 2 {
				u.name = words[2]
			}
			count[u.kind]++
			sections = append(sections, u)
		case len(words) == 3 && (words[0] == "option" || words[0] == "list") && len(sections) > 0:
			o := sections[len(sections)-1].options
			o[words[1]] = append(o[words[1]], strings.Fields(words[2])...)
		}
	}
	return sections
}

func splitUCI(line string) (words []string) {
	for line = strings.TrimSpace(line); line != "" && line[0] != '#'; line = strings.TrimSpace(line) {
		end := " \t"
		if line[0] == '\'' || line[0] == '"' {
			end, line = line[:1], line[1:]
		}
		at := strings.IndexAny(line, end)
		if at < 0 {
			at = len(line)
		}
		words = append(words, line[:at])
		line = strings.TrimPrefix(line[at:], end)
	}
	return words
}
