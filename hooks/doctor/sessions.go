package doctor

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// conntrackd reads conntrackd.conf(5).
func (s *System) conntrackd(ctx context.Context, f *Facts) {
	c := &f.Conntrackd
	c.Installed = s.Exists("/usr/sbin/conntrackd") || s.Exists("/sbin/conntrackd")
	if !c.Installed {
		return
	}
	_, err := s.Run(ctx, "conntrackd", "-s")
	c.Running = err == nil
	var open, line, before []string // the blocks that are open, by name
	for _, text := range s.Lines("/etc/conntrackd/conntrackd.conf") {
		text, _, _ = strings.Cut(text, "#")
		before, line = line, nil
		for _, word := range strings.Fields(spaceBraces.Replace(text)) {
			switch word {
			case "{":
				if len(line) == 0 {
					line = before
				}
				name := strings.Join(line, " ")
				open, line = append(open, name), nil
				c.Configured = c.Configured || name == "Sync"
				c.Filter = c.Filter || strings.HasPrefix(name, "Filter")
				c.Ignores = c.Ignores || name == "Address Ignore"
				c.Accepts = c.Accepts || name == "Address Accept"
			case "}":
				open, line = open[:max(len(open)-1, 0)], nil
			default:
				line = append(line, word)
				c.setting(strings.Join(open, " "), line)
			}
		}
	}
}

// setting takes the words of a line so far.
func (c *Conntrackd) setting(within string, line []string) {
	if len(line) != 2 {
		return
	}
	key, value := line[0], line[1]
	p, err := netip.ParsePrefix(value)
	if a, e := netip.ParseAddr(value); e == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case key == "TCPWindowTracking":
		c.Windows = slices.Contains([]string{"yes", "on"}, strings.ToLower(value))
	case err != nil:
	case strings.HasSuffix(within, "Address Ignore"):
		c.Ignore = append(c.Ignore, p)
	case strings.HasSuffix(within, "Address Accept"):
		c.Accept = append(c.Accept, p)
	case strings.HasPrefix(within, "Sync ") && (key == "IPv4_interface" || key == "IPv4_address" && !strings.Contains(within, "Multicast")):
		c.Own = append(c.Own, p.Addr())
	}
}

var spaceBraces = strings.NewReplacer("{", " { ", "}", " } ")

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
	w := &f.Firewall
	w.Names, w.Zone = map[string]bool{}, -1
	wans, _ := f.names()
	if f.OpenWrt {
		s.zones(w, wans)
		return
	}
	for _, program := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}, {"iptables-legacy-save"}} {
		out, err := s.Run(ctx, program[0], program[1:]...)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(out), "\n") {
			if w.rule(strings.Fields(line), wans) && w.From == "" {
				w.From = program[0]
			}
		}
	}
}

// rule reads a line of nft's or iptables' output, and reports whether it does
// anything: a table, or a chain with a policy, may be there without one rule.
func (w *Firewall) rule(words, wans []string) (acts bool) {
	var translates, towards, not bool
	for i, word := range words {
		before := ""
		if i > 0 {
			before = words[i-1]
		}
		switch word {
		case "-A", "accept", "drop", "reject", "dnat", "jump", "goto", "queue":
			acts = true
		case "masquerade", "snat", "MASQUERADE", "SNAT":
			acts, translates = true, true
		case "oif", "oifname", "-o":
			towards = true
		case "!", "!=":
			not = true
		}
		name := strings.TrimSuffix(word, ",")
		bare := strings.Trim(name, `"`)
		switch {
		case before == "-i" || before == "-o":
			bare = strings.Replace(bare, "+", "*", 1)
		case before == "iif" || before == "oif" || len(name) != len(bare)+2: // an index is lost with its interface
			continue
		}
		prefix, wild := strings.CutSuffix(bare, "*")
		for _, wan := range wans {
			if prefix == wan || wild && strings.HasPrefix(wan, prefix) {
				w.Names[wan] = true
			}
		}
	}
	w.NAT = w.NAT || translates && (!towards || not)
	return acts
}

// zones reads fw4's. The one for the WAN is the one with its name, else the first
// that masquerades.
func (s *System) zones(w *Firewall, wans []string) {
	networks := map[string]bool{}
	for _, i := range s.uciFile("network") {
		networks[i.name] = networks[i.name] || i.kind == "interface"
	}
	count, best := 0, ""
	for _, z := range s.uciFile("firewall") {
		if z.kind != "zone" {
			continue
		}
		w.From = "/etc/config/firewall"
		w.NAT = w.NAT || z.on("masq")
		if z.get("name") == "wan" || z.on("masq") && best != "wan" && w.Zone < 0 {
			w.Zone, best = count, z.get("name")
		}
		count++
		for _, wan := range wans {
			if slices.Contains(z.options["device"], wan) || slices.Contains(z.options["network"], wan) && networks[wan] {
				w.Names[wan] = true
			}
		}
	}
}
