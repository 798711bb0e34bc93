package filter

import (
	"slices"
	"strings"
)

// ParseIPTables reads what iptables-save prints.
func ParseIPTables(text string) *Rules {
	r := newRules()
	table := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0][0] == '*':
			table = words[0][1:]
		case words[0][0] == ':' && len(words) > 1:
			name := words[0][1:]
			c := r.chain("ip/" + table + "/" + name)
			if words[1] != "-" { // a chain of the kernel's
				c.hook, c.kind = strings.ToLower(name), "filter"
				if table == "nat" {
					c.kind = "nat"
				}
				if words[1] == "DROP" {
					c.policy = dropped
				}
			}
		case words[0] == "-A" && len(words) > 1:
			c := r.chain("ip/" + table + "/" + words[1])
			c.rules = append(c.rules, iptablesRule(words[2:]))
		}
	}
	return r
}

func iptablesRule(words []string) (r rule) {
	not := false
	for i := 0; i < len(words); i++ {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		add := func(what string, values ...string) {
			r.conditions = append(r.conditions, condition{what: what, values: values, not: not, named: what == "in" || what == "out"})
			not = false
			i++
		}
		switch w := words[i]; w {
		case "!":
			not = true
		case "-i":
			add("in", strings.Replace(next, "+", "*", 1))
		case "-o":
			add("out", strings.Replace(next, "+", "*", 1))
		case "-p":
			add("protocol", next)
		case "-s":
			add("from", next)
		case "-d":
			add("to", next)
		case "--dport", "--dports":
			add("port", strings.Split(next, ",")...)
		case "--state", "--ctstate":
			add("state", strings.Split(strings.ToLower(next), ",")...)
		case "-m", "--comment", "--reject-with", "--log-prefix", "--log-level", "--to-source", "--to-ports":
			if i++; strings.HasPrefix(next, `"`) { // of several words
				for !strings.HasSuffix(words[i], `"`) && i+1 < len(words) || words[i] == `"` && i+1 < len(words) {
					i++
				}
			}
		case "-j", "-g":
			i++
			r.verdict, r.target = target(next, w == "-g")
		default: // not understood
			if strings.HasPrefix(w, "-") && !slices.Contains([]string{"--random", "--random-fully"}, w) {
				r.conditions = append(r.conditions, condition{})
			}
		}
	}
	return r
}

func target(name string, goes bool) (verdict, chain string) {
	switch name {
	case "ACCEPT":
		return "accept", ""
	case "DROP", "REJECT":
		return "drop", ""
	case "RETURN":
		return "return", ""
	case "MASQUERADE", "SNAT":
		return "masquerade", ""
	case "QUEUE", "NFQUEUE":
		return "unknown", ""
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "CT", "TCPMSS", "DSCP", "TOS", "CLASSIFY", "NOTRACK", "SET", "DNAT", "REDIRECT", "TTL", "CHECKSUM", "CONNSECMARK", "SECMARK":
		return "", ""
	}
	if goes {
		return "goto", name
	}
	return "jump", name
}
