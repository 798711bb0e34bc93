package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/wanfail/wanfail/hooks/doctor/filter"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// Firewall is what the programs print of their rules.
type Firewall struct {
	From  string // the program whose rules do something, "": there are none
	Rules []*filter.Rules
	// Unknown: there are rules, and they could not be read.
	Unknown bool
}

// firewall asks for the rules in force.
func (s *System) firewall(ctx context.Context, f *Facts) {
	w := &f.Firewall
	add := func(program string, r *filter.Rules) {
		if w.Rules = append(w.Rules, r); r.Acts() && w.From == "" {
			w.From = program
		}
	}
	if out, err := s.Run(ctx, "nft", "--json", "list", "ruleset"); err == nil {
		if r, err := filter.ParseNFT(out); err == nil {
			add("nft", r)
		} else {
			w.From, w.Unknown = "nft", true
		}
	} else if out, err := s.Run(ctx, "nft", "list", "ruleset"); err == nil && strings.Contains(string(out), "chain") { // built without JSON
		w.From, w.Unknown = "nft", true
	}
	for _, program := range []string{"iptables-save", "iptables-legacy-save"} {
		if out, err := s.Run(ctx, program); err == nil {
			add(program, filter.ParseIPTables(string(out)))
		}
	}
}

func firewall(f *Facts) (all []Finding) {
	w := &f.Firewall
	if w.From == "" {
		fix := f.example("nftables/nftables.conf", "/etc/nftables.conf", "")
		if strings.HasPrefix(fix, byHand) {
			fix += "; then"
		} else {
			fix += ";"
		}
		fix += " systemctl enable nftables; systemctl restart nftables"
		if f.OpenWrt {
			fix = "service firewall enable; service firewall restart"
		}
		return one("firewall", Error, "no firewall is loaded", "nothing masquerades the LAN and nothing guards it once the WAN is up", fix)
	}
	if w.Unknown {
		return nil
	}
	if !f.OpenWrt {
		all = f.masquerade()
	}
	return append(all, f.admits()...)
}

// masquerade looks whether what leaves by a WAN is masqueraded.
func (f *Facts) masquerade() (all []Finding) {
	w := &f.Firewall
	for _, wan := range f.Config.WANs {
		best, named := filter.None, false
		for _, r := range w.Rules {
			best = max(best, r.Translates(filter.Packet{In: f.lan(), Out: wan.Name, From: f.client(), States: []string{"new"}}))
			named = named || r.Names(wan.Name)
		}
		hint := fmt.Sprintf(`oifname "%s" masquerade, in a chain of type nat hook postrouting`, wan.Name)
		switch {
		case best == filter.Named:
		case best == filter.Other:
			all = append(all, one("firewall-wan", Warning, fmt.Sprintf("no rule of %s masquerades by the interface name %s", w.From, wan.Name),
				"the rule does not depend on the interface: it may translate more, or less, than what leaves there", f.addRule(hint))...)
		case named:
			all = append(all, one("firewall-masquerade", Error, fmt.Sprintf("rules of %s name %s, and none masquerades what leaves there", w.From, wan.Name),
				"packets of the LAN leave with addresses that nobody can answer", f.addRule(hint))...)
		default:
			all = append(all, one("firewall-wan", Error, fmt.Sprintf("no rule of %s names %s", w.From, wan.Name), "the LAN is not masqueraded there, or its packets are dropped",
				f.addRule(hint+fmt.Sprintf(`, and iifname "%s" jump ...`, wan.Name))+" # not oif and iif: they forget a WAN that is made anew")...)
		}
	}
	return all
}

// admits looks whether what the other router sends comes in.
func (f *Facts) admits() (all []Finding) {
	lost := func(p filter.Packet) bool {
		for _, r := range f.Firewall.Rules {
			if r.Lost(p) {
				return true
			}
		}
		return false
	}
	if f.Keepalived != nil {
		seen := map[string]bool{}
		for _, i := range f.Keepalived.Instances {
			if i.Group || seen[i.Interface] {
				continue
			}
			for _, p := range adverts(i, f.Addresses) {
				if !seen[i.Interface] && lost(p) {
					seen[i.Interface] = true
					all = append(all, one("firewall-vrrp", Error, fmt.Sprintf("the firewall drops VRRP (IP protocol 112) on %s, of %s", i.Interface, i.Title()),
						"neither router receives the adverts of the other: both become master", f.admit("Allow-VRRP", i.Interface, "112", "", "ip protocol 112 accept"))...)
				}
			}
		}
	}
	if !f.replicates() {
		return all
	}
	for _, c := range f.Conntrackd.Channels {
		if c.Kind == "TCP" || c.Interface == "" {
			continue
		}
		p := filter.Packet{In: c.Interface, Protocol: "udp", Port: c.Port, From: c.To, To: c.Own, States: []string{"new", "established"}}
		if c.Kind == "Multicast" { // to which nobody answers
			p.From, p.To, p.States = netip.Addr{}, c.To, []string{"new"}
		}
		if lost(p) {
			all = append(all, one("firewall-conntrackd", Error, fmt.Sprintf("the firewall drops conntrackd's messages (UDP port %s) on %s", c.Port, c.Interface),
				"this router does not learn the sessions of the other one, and resets them when it takes over",
				f.admit("Allow-conntrackd", c.Interface, "udp", c.Port, "udp dport "+c.Port+" accept"))...)
		}
	}
	return all
}

// adverts are those that the peer of an instance sends.
func adverts(i *keepalived.Instance, own keepalived.Addresses) (all []filter.Packet) {
	p := filter.Packet{In: i.Interface, Protocol: "vrrp", To: netip.AddrFrom4([4]byte{224, 0, 0, 18}), States: []string{"new"}}
	if len(i.Unicast) == 0 {
		return []filter.Packet{p}
	}
	p.States = []string{"new", "established"} // both send
	for _, peer := range i.Unicast {
		p.From, p.To = netip.Addr{}, netip.Addr{}
		if a, err := netip.ParseAddr(peer); err == nil && a.Is4() {
			p.From = a
			if s, err := netip.ParseAddr(i.Source); err == nil {
				p.To = s
			}
			all = append(all, p)
		}
	}
	return all
}

// lan and client are where packets of the LAN come from, and from whom; "" and the
// zero address where nobody knows.
func (f *Facts) lan() string {
	if f.Keepalived != nil && len(f.Keepalived.Instances) > 0 {
		return f.Keepalived.Instances[0].Interface
	}
	return ""
}

func (f *Facts) client() (a netip.Addr) {
	for _, p := range f.Addresses[f.lan()] {
		if p.Addr().Is4() && !a.IsValid() {
			a = p.Masked().Addr().Next()
			for a == p.Addr() {
				a = a.Next()
			}
		}
	}
	return a
}
