package view

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// shown is how many of the last transitions a person is told.
const shown = 3

// Report prints the state of a router.
func (s Screen) Report(w io.Writer, r control.Report) {
	p := s.page(w)
	p.role(r)
	p.warnings(r.Warnings)
	for _, n := range r.WANs {
		p.gap()
		p.wan(n, r.Role)
	}
	if len(r.Services) > 0 || r.Conntrackd != "" {
		p.gap()
	}
	for i, sv := range r.Services {
		p.service(i == 0, r, sv)
	}
	if r.Conntrackd != "" {
		st := plain
		if strings.HasPrefix(r.Conntrackd, "failing") {
			st = red
		}
		p.line("conntrack", st, "conntrackd "+r.Conntrackd, "")
	}
	if len(r.Transitions) > 0 {
		p.gap()
	}
	last := slices.Clone(r.Transitions)
	slices.Reverse(last)
	for i, t := range last[:min(shown, len(last))] {
		p.transition(i == 0, t, r.Warnings)
	}
}

// warnings stand at the top: on a small screen the end of a report is cut off.
func (p *page) warnings(all []string) {
	if len(all) > 0 {
		p.gap()
	}
	for _, text := range all {
		p.line("warning", yellow, text, "")
	}
}

func (p *page) role(r control.Report) {
	st := cyan
	if r.Role == intent.Primary {
		st = green
	}
	since := ""
	if !r.Since.IsZero() {
		since = fmt.Sprintf(" for %s, since %s", Long(max(0, p.Now.Sub(r.Since))), p.date(r.Since))
	}
	p.line("role", st, r.Role.String(), since)
	if r.By != "" {
		p.line("by", plain, "", Asked(r.By))
	}
	if r.PID == 0 {
		p.line("keeper", red, "not running", "")
	} else {
		p.line("keeper", plain, "", fmt.Sprintf("process %d, wanfail %s", r.PID, r.Version))
	}
	switch k := r.Keepalived; {
	case k == nil:
	case k.PID == 0:
		p.line("VRRP", red, "keepalived is not running", "")
	case len(r.VRRP) == 0:
		p.line("VRRP", plain, "", fmt.Sprintf("keepalived process %d", k.PID))
	}
	for i, v := range r.VRRP {
		p.vrrp(i == 0 && (r.Keepalived == nil || r.Keepalived.PID != 0), v)
	}
}

// vrrp prints the state that keepalived notified last of an instance or group.
func (p *page) vrrp(first bool, v control.VRRP) {
	label := ""
	if first {
		label = "VRRP"
	}
	st, state := plain, v.State
	if v.Name != "" {
		state = v.Name + " " + v.State
	}
	text := fmt.Sprintf(" for %s, says keepalived[%d]", Long(max(0, p.Now.Sub(v.Since))), v.PID)
	switch {
	case !v.Alive:
		text = fmt.Sprintf(", said keepalived[%d], which has ended", v.PID)
	case v.State == "FAULT":
		st = red
	}
	p.line(label, st, state, text)
}

// Asked is who asked for a role, to stand after "by".
func Asked(by string) string { return strings.TrimPrefix(by, "by ") }

// date is a moment in the time zone of the reader.
func (p *page) date(t time.Time) string { return t.In(p.Now.Location()).Format(time.DateTime) }

// The states of a WAN that are as they should be, for a role.
var settled = map[string]intent.Role{
	control.StateStandby: intent.Backup, control.StateMuted: intent.Backup,
	dhcp.Bound.String(): intent.Primary, dhcp.Renewing.String(): intent.Primary,
}

func (p *page) wan(n control.WAN, router intent.Role) {
	st := yellow
	if role, ok := settled[n.State]; ok && role == n.Role {
		st = green
		if n.Role == intent.Backup {
			st = plain
		}
	}
	of := ""
	if n.Role != router { // another VRRP instance drives it
		of = ", " + n.Role.String()
	}
	p.line("wan", bold, n.Name, fmt.Sprintf(" on %s with %s%s", n.Parent, n.MAC, of))
	p.line("state", st, n.State, stateMeans[n.State])
	if n.Address.IsValid() {
		p.line("address", plain, "", n.Address.String())
	}
	if n.Gateway.IsValid() {
		p.gateway(n)
	}
	if n.Server.IsValid() {
		p.line("server", plain, "", n.Server.String())
	}
	if len(n.DNS) > 0 {
		p.line("DNS", plain, "", joinAddrs(n.DNS))
	}
	if n.Address.IsValid() {
		p.lease(n)
	}
	if n.Diagnosis != "" {
		detail := ""
		if n.Detail != "" {
			detail = " (" + n.Detail + ")"
		}
		p.line("DHCP", yellow, n.Diagnosis, detail+remedy(n.Diagnosis))
	}
	if n.Error != "" {
		p.line("problem", red, n.Error, "")
	}
}

// stateMeans explains the states that are not RFC 2131's.
var stateMeans = map[string]string{
	control.StateStandby:    ": no WAN interface, as it should be",
	control.StateDown:       ": no interface",
	control.StateMuted:      ": silent, deleted soon",
	control.StateForeign:    ": an interface of this name is not wanfail's",
	control.StateUnattended: ": no keeper renews the lease",
}

func (p *page) gateway(n control.WAN) {
	g := n.Gatewayed
	switch {
	case g == nil:
		p.line("gateway", plain, "", n.Gateway.String())
	case g.LastReply.IsZero():
		p.line("gateway", red, n.Gateway.String(), ", no ARP reply so far")
	default:
		st, age := green, Long(max(0, p.Now.Sub(g.LastReply)))+" ago"
		text := fmt.Sprintf(", last ARP reply %s after %s", age, Short(time.Duration(g.RTTMicros)*time.Microsecond))
		if !g.Reachable {
			st, text = red, fmt.Sprintf(", silent: last ARP reply %s; is the line up?", age)
		}
		p.line("gateway", st, n.Gateway.String(), text)
	}
}

const barWidth = 20

// lease draws what is left of the lease.
func (p *page) lease(n control.WAN) {
	if n.LeaseSeconds < 0 {
		p.line("lease", plain, "", "infinite")
		return
	}
	left, total := time.Duration(n.LeaseSeconds)*time.Second, time.Duration(n.LeaseTotal)*time.Second
	if total <= 0 {
		p.line("lease", plain, "", Long(left)+" left")
		return
	}
	full := int(min(1, max(0, float64(left)/float64(total)))*barWidth + 0.5)
	st := green
	if left < total/8 { // past T2 (RFC 2131 4.4.5)
		st = red
	} else if left < total/2 {
		st = yellow
	}
	text := fmt.Sprintf(" %s of %s left", Long(left), Long(total))
	if n.RenewSeconds > 0 {
		text += ", next renewal in " + Long(time.Duration(n.RenewSeconds)*time.Second)
	}
	p.line("lease", st, "["+strings.Repeat("=", full)+strings.Repeat(".", barWidth-full)+"]", text)
}

func (p *page) service(first bool, r control.Report, s control.Service) {
	label := ""
	if first {
		label = "services"
	}
	state, st := " stopped", plain
	if s.Running {
		state = " running"
	}
	switch {
	case s.Pending:
		state, st = " is being stopped", yellow
		if r.Role == intent.Primary {
			state = " is being started"
		}
	case s.Error != "" || s.Running != (r.Role == intent.Primary):
		st = red
	case s.Running:
		st = green
	}
	text := state + " (" + s.Backend + ")"
	switch {
	case s.Error == "" || s.Pending:
	case slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.HasSuffix(w, s.Name+": "+s.Error) }):
		text += ", failing: see the warning"
	default:
		text += ": " + s.Error
	}
	p.line(label, st, s.Name, text)
}

// transition leaves out the problems that are among the warnings, said once.
func (p *page) transition(first bool, t control.Transition, warnings []string) {
	label := ""
	if first {
		label = "changes"
	}
	st := cyan
	if t.Role == intent.Primary {
		st = green
	}
	p.line(label, st, t.Role.String(), fmt.Sprintf(" at %s, took %s, by %s", p.date(t.At), Short(t.Took), Asked(t.By)))
	problems := slices.Clone(t.Problems)
	if len(t.Phases) > 0 {
		var parts []string
		for _, ph := range t.Phases {
			part := ph.Name + " " + Short(ph.At)
			if ph.Error != "" {
				part += " (failed)"
				if !tells(append(problems, warnings...), ph.Error) {
					problems = append(problems, ph.Name+": "+ph.Error)
				}
			}
			parts = append(parts, part)
		}
		p.line("", plain, "", strings.Join(parts, ", "))
	}
	for _, problem := range problems {
		if !slices.Contains(warnings, problem) {
			p.line("", yellow, problem, "")
		}
	}
}

// tells reports whether one of the texts contains what is to be told.
func tells(texts []string, what string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, what) })
}

// remedy is what package dhcp says about a finding's code.
func remedy(code string) string {
	for d := dhcp.OK; ; d++ {
		switch name := d.String(); {
		case name == code:
			return ": " + d.Text()
		case name == d.Text(): // beyond the last one
			return ""
		}
	}
}

func joinAddrs(addrs []netip.Addr) string {
	var parts []string
	for _, a := range addrs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}
