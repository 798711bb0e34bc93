// Package filter decides what happens to a packet in the rules of a firewall, as nft
// and iptables print them. It is a judgement of three values: what it does not
// understand may match or not, and only a packet that is lost either way is lost.
package filter

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Packet is an IPv4 packet, as far as rules look at it.
type Packet struct {
	In, Out  string // interfaces
	Protocol string // "vrrp", "udp"
	Port     string // destination
	From, To netip.Addr
	// States are those of connection tracking that it may be in.
	States []string
}

// verdicts are what may become of a packet, a bit each.
type verdicts uint8

const (
	accepted verdicts = 1 << iota
	dropped
	passed // no rule has decided
)

// answer is whether a condition holds.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

func (a answer) not() answer { return yes - a }

func truth(b bool) answer {
	if b {
		return yes
	}
	return no
}

// condition is one thing that a rule asks of a packet.
type condition struct {
	what string // in, out, protocol, port, from, to, state, family; "": not understood
	// index: the interface is known by its number, which is lost with it.
	index  bool
	not    bool
	values []string
	named  bool // in and out: an interface is named
}

// rule is one line.
type rule struct {
	conditions []condition
	// verdict is accept, drop, jump, goto, return, masquerade, or "": it decides
	// nothing. "unknown": it may decide.
	verdict, target string
}

// chain is where rules stand.
type chain struct {
	hook   string // input, prerouting, ...; "": called by others
	kind   string // filter, nat
	policy verdicts
	rules  []rule
}

// Rules are all of a program's.
type Rules struct {
	chains map[string]*chain // by family, table and name
	order  []string
	budget int // of rules to look at: chains may call each other many times
}

func newRules() *Rules { return &Rules{chains: map[string]*chain{}} }

func (r *Rules) chain(key string) *chain {
	if r.chains[key] == nil {
		r.chains[key] = &chain{policy: accepted}
		r.order = append(r.order, key)
	}
	return r.chains[key]
}

// Acts reports whether there is any rule that does something, or a chain that
// drops: tables may be there without one.
func (r *Rules) Acts() bool {
	for _, c := range r.chains {
		if c.hook != "" && c.policy == dropped || slices.ContainsFunc(c.rules, func(r rule) bool { return r.verdict != "" }) {
			return true
		}
	}
	return false
}

// Names reports whether a rule names an interface, and not by its number.
func (r *Rules) Names(device string) bool {
	for _, c := range r.chains {
		for _, l := range c.rules {
			for _, cond := range l.conditions {
				if cond.named && !cond.not && !cond.index && cond.matches(device) {
					return true
				}
			}
		}
	}
	return false
}

// Lost reports whether a packet to this computer cannot get through.
func (r *Rules) Lost(p Packet) bool {
	r.budget = maxRules
	for _, key := range r.order {
		c := r.chains[key]
		if (c.hook == "input" || c.hook == "prerouting") && c.kind != "nat" && r.run(c, key, p, 0)&accepted == 0 {
			return true
		}
	}
	return false
}

// Translation is how the source address of what leaves is translated.
type Translation uint8

// The kinds of Translation, the better the greater.
const (
	None  Translation = iota
	Other             // by something else than the interface
	Named             // by a rule that names the interface
)

// Translates reports how the source address of a packet that leaves is translated.
func (r *Rules) Translates(p Packet) (best Translation) {
	r.budget = maxRules
	for _, key := range r.order {
		if c := r.chains[key]; c.hook == "postrouting" && c.kind == "nat" {
			best = max(best, r.translates(c, key, p, false, 0))
		}
	}
	return best
}

// The kernel's limit of calls is 16; more rules than maxRules nobody waits for.
const (
	maxDepth = 16
	maxRules = 1 << 20
)

// spent takes a rule from the budget.
func (r *Rules) spent() bool { r.budget--; return r.budget < 0 }

func (r *Rules) translates(c *chain, key string, p Packet, named bool, depth int) (best Translation) {
	for _, l := range c.rules {
		if l.holds(p) == no || r.spent() {
			continue
		}
		here := named || slices.ContainsFunc(l.conditions, func(c condition) bool { return c.what == "out" && !c.not })
		switch {
		case l.verdict == "masquerade" && here:
			return Named
		case l.verdict == "masquerade":
			best = Other
		case (l.verdict == "jump" || l.verdict == "goto") && depth < maxDepth:
			if to := r.chains[path.Dir(key)+"/"+l.target]; to != nil {
				best = max(best, r.translates(to, path.Dir(key)+"/"+l.target, p, here, depth+1))
			}
		}
	}
	return best
}

// run is what may happen to a packet in a chain.
func (r *Rules) run(c *chain, key string, p Packet, depth int) (may verdicts) {
	for _, l := range c.rules {
		holds := l.holds(p)
		switch {
		case holds == no:
			continue
		case r.spent():
			return may | accepted | dropped
		}
		var is verdicts
		switch l.verdict {
		case "accept", "masquerade":
			is = accepted
		case "drop":
			is = dropped
		case "return":
			is = passed
		case "unknown":
			is, holds = accepted|dropped, maybe
		case "jump", "goto":
			to := r.chains[path.Dir(key)+"/"+l.target]
			if to == nil || depth >= maxDepth {
				return may | accepted | dropped
			}
			is = r.run(to, path.Dir(key)+"/"+l.target, p, depth+1)
			if l.verdict == "jump" && is&passed != 0 {
				is, holds = is&^passed, maybe // and on with the next rule
			}
		default:
			continue
		}
		if may |= is; holds == yes {
			return c.end(may)
		}
	}
	return c.end(may | passed)
}

// end has the policy decide where a base chain ends without a verdict.
func (c *chain) end(may verdicts) verdicts {
	if c.hook != "" && may&passed != 0 {
		return may&^passed | c.policy
	}
	return may
}

func (l rule) holds(p Packet) answer {
	all := yes
	for _, c := range l.conditions {
		all = min(all, c.holds(p))
	}
	return all
}

func (c condition) holds(p Packet) answer {
	is := maybe
	switch c.what {
	case "in", "out":
		device := p.In
		if c.what == "out" {
			device = p.Out
		}
		switch {
		case device == "":
		case c.index && c.what == "out": // what the WAN was is lost with it
			is = no
		default:
			is = truth(c.matches(device))
		}
	case "protocol":
		is = truth(c.has(p.Protocol) || p.Protocol == "vrrp" && c.has("112") || p.Protocol == "udp" && c.has("17"))
	case "port":
		if p.Port == "" || p.Protocol != "udp" {
			return no
		}
		is = truth(slices.ContainsFunc(c.values, func(v string) bool { return inRange(v, p.Port) }))
	case "from", "to":
		a := p.From
		if c.what == "to" {
			a = p.To
		}
		if a.IsValid() {
			is = c.contains(a)
		}
	case "state":
		n := 0
		for _, s := range p.States {
			if c.has(s) {
				n++
			}
		}
		if is = maybe; n == 0 {
			is = no
		} else if n == len(p.States) {
			is = yes
		}
	case "never":
		is = no
	case "family":
		is = truth(c.has("ip") || c.has("ipv4"))
	}
	if c.not {
		return is.not()
	}
	return is
}

func (c condition) has(v string) bool { return slices.Contains(c.values, v) }

// matches compares a name with those of interfaces, which may end in a star.
func (c condition) matches(device string) bool {
	return slices.ContainsFunc(c.values, func(v string) bool {
		prefix, wild := strings.CutSuffix(v, "*")
		return v == device || wild && strings.HasPrefix(device, prefix)
	})
}

func (c condition) contains(a netip.Addr) answer {
	is := no
	for _, v := range c.values {
		if first, last, ok := strings.Cut(v, "-"); ok {
			low, err1 := netip.ParseAddr(first)
			high, err2 := netip.ParseAddr(last)
			if err1 == nil && err2 == nil && low.Compare(a) <= 0 && a.Compare(high) <= 0 {
				return yes
			}
			continue
		}
		if one, err := netip.ParseAddr(v); err == nil {
			if one == a {
				return yes
			}
			continue
		}
		p, err := netip.ParsePrefix(v)
		if err != nil {
			is = maybe
		} else if p.Contains(a) {
			return yes
		}
	}
	return is
}

// inRange reports whether a port is v, or in v, as 1000-2000 or 1000:2000.
func inRange(v, port string) bool {
	first, last, ok := strings.Cut(strings.Replace(v, ":", "-", 1), "-")
	if !ok {
		return v == port
	}
	less := func(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a <= b }
	return less(first, port) && less(port, last)
}
