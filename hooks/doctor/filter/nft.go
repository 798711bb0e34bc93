package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// object is one of libnftables-json(5).
type object map[string]json.RawMessage

// ParseNFT reads what `nft --json list ruleset` prints.
func ParseNFT(raw []byte) (*Rules, error) {
	if at := bytes.IndexByte(raw, '{'); at > 0 { // behind a warning
		raw = raw[at:]
	}
	var doc struct {
		NFTables []object `json:"nftables"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("nft's ruleset: %w", err)
	}
	n := &nft{Rules: newRules(), sets: map[string][]string{}}
	for _, o := range doc.NFTables { // rules refer to sets that may stand behind them
		for _, kind := range []string{"set", "map"} {
			var s struct {
				Family, Table, Name string
				Elem                json.RawMessage
			}
			if json.Unmarshal(o[kind], &s) == nil {
				n.sets[s.Family+"/"+s.Table+"/"+s.Name], _ = n.values("", s.Elem)
			}
		}
	}
	for _, o := range doc.NFTables {
		var c struct{ Family, Table, Name, Hook, Type, Policy string }
		if json.Unmarshal(o["chain"], &c) == nil && (c.Family == "ip" || c.Family == "inet") {
			to := n.chain(c.Family + "/" + c.Table + "/" + c.Name)
			if to.hook, to.kind = c.Hook, c.Type; c.Policy == "drop" {
				to.policy = dropped
			}
		}
		var r struct {
			Family, Table, Chain string
			Expr                 []object
		}
		if json.Unmarshal(o["rule"], &r) == nil && (r.Family == "ip" || r.Family == "inet") {
			at := r.Family + "/" + r.Table
			to := n.chain(at + "/" + r.Chain)
			to.rules = append(to.rules, n.rules(at, r.Expr)...)
		}
	}
	return n.Rules, nil
}

type nft struct {
	*Rules
	sets map[string][]string
}

// rules are those that a line amounts to: one, or one for each element of a
// verdict map.
func (n *nft) rules(at string, expr []object) (all []rule) {
	var r rule
	for _, o := range expr {
		for kind, raw := range o {
			switch kind {
			case "match":
				r.conditions = append(r.conditions, n.match(at, raw))
			case "accept", "drop", "return":
				r.verdict = kind
			case "reject":
				r.verdict = "drop"
			case "masquerade", "snat":
				r.verdict = "masquerade"
			case "jump", "goto":
				var to struct{ Target string }
				_ = json.Unmarshal(raw, &to)
				r.verdict, r.target = kind, to.Target
			case "vmap":
				all = append(all, n.vmap(at, r.conditions, raw)...)
			case "limit":
				r.conditions = append(r.conditions, condition{})
			case "queue", "synproxy", "tproxy":
				r.verdict = "unknown"
			case "xt": // of iptables, which tells more itself
				r.conditions = append(r.conditions, condition{})
				if r.verdict == "" {
					r.verdict = "unknown"
				}
			}
		}
	}
	if r.verdict != "" || len(all) == 0 {
		all = append(all, r)
	}
	return all
}

func (n *nft) vmap(at string, given []condition, raw json.RawMessage) (all []rule) {
	var m struct {
		Key  object
		Data struct{ Set [][2]json.RawMessage }
	}
	if json.Unmarshal(raw, &m) != nil || m.Data.Set == nil {
		return []rule{{conditions: append(given[:len(given):len(given)], condition{}), verdict: "unknown"}}
	}
	for _, pair := range m.Data.Set {
		c := n.left(m.Key)
		c.values, _ = n.values(at, pair[0])
		var verdict object
		_ = json.Unmarshal(pair[1], &verdict)
		for _, r := range n.rules(at, []object{verdict}) {
			r.conditions = append(given[:len(given):len(given)], c)
			all = append(all, r)
		}
	}
	return all
}

func (n *nft) match(at string, raw json.RawMessage) condition {
	var m struct {
		Op    string
		Left  json.RawMessage
		Right json.RawMessage
	}
	var left object
	if json.Unmarshal(raw, &m) != nil || json.Unmarshal(m.Left, &left) != nil {
		return condition{}
	}
	c := n.left(left)
	values, ok := n.values(at, m.Right)
	if !ok || m.Op != "==" && m.Op != "!=" && m.Op != "in" {
		return condition{}
	}
	c.values, c.not = values, m.Op == "!="
	return c
}

// left is what a match compares.
func (n *nft) left(o object) condition {
	var meta struct{ Key string }
	var payload struct{ Protocol, Field string }
	var ct struct{ Key string }
	_ = json.Unmarshal(o["meta"], &meta)
	_ = json.Unmarshal(o["payload"], &payload)
	_ = json.Unmarshal(o["ct"], &ct)
	switch {
	case meta.Key == "iifname", meta.Key == "iif":
		return condition{what: "in", named: true, index: meta.Key == "iif"}
	case meta.Key == "oifname", meta.Key == "oif":
		return condition{what: "out", named: true, index: meta.Key == "oif"}
	case meta.Key == "l4proto", payload.Protocol == "ip" && payload.Field == "protocol":
		return condition{what: "protocol"}
	case meta.Key == "nfproto", meta.Key == "protocol":
		return condition{what: "family"}
	case payload.Protocol == "ip" && payload.Field == "saddr":
		return condition{what: "from"}
	case payload.Protocol == "ip" && payload.Field == "daddr":
		return condition{what: "to"}
	case (payload.Protocol == "udp" || payload.Protocol == "th") && payload.Field == "dport":
		return condition{what: "port"}
	case ct.Key == "state":
		return condition{what: "state"}
	case payload.Protocol == "tcp", strings.HasPrefix(payload.Protocol, "ip6"), strings.HasPrefix(payload.Protocol, "icmp"):
		return condition{what: "never"}
	}
	return condition{}
}

// values are those that a match compares with, and whether all were understood.
func (n *nft) values(at string, raw json.RawMessage) (all []string, ok bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if name, set := strings.CutPrefix(text, "@"); set {
			all, ok = n.sets[at+"/"+name]
			return all, ok
		}
		return []string{text}, true
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil {
		return []string{number.String()}, true
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		ok = true
		for _, one := range list {
			v, known := n.values(at, one)
			all, ok = append(all, v...), ok && known
		}
		return all, ok
	}
	var o struct {
		Set    json.RawMessage
		Range  []json.RawMessage
		Elem   *struct{ Val json.RawMessage }
		Prefix *struct {
			Addr string
			Len  int
		}
	}
	switch err := json.Unmarshal(raw, &o); {
	case err != nil:
	case o.Set != nil:
		return n.values(at, o.Set)
	case o.Elem != nil:
		return n.values(at, o.Elem.Val)
	case o.Prefix != nil:
		return []string{fmt.Sprintf("%s/%d", o.Prefix.Addr, o.Prefix.Len)}, true
	case len(o.Range) == 2:
		first, ok1 := n.values(at, o.Range[0])
		last, ok2 := n.values(at, o.Range[1])
		if ok1 && ok2 && len(first) == 1 && len(last) == 1 {
			return []string{first[0] + "-" + last[0]}, true
		}
	}
	return nil, false
}
