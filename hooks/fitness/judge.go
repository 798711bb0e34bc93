package fitness

import (
	"fmt"
	"strings"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// Fill adds what was found to a Report that has all else, warnings included.
func (f Facts) Fill(r *control.Report) {
	r.Keepalived, r.Boot = f.daemon(), f.Boot
	r.Warnings = append(r.Warnings, Problems(*r)...)
	r.Warnings = append(r.Warnings, f.nextBoot()...)
}

// daemon is the part of a Report that is about keepalived.
func (f Facts) daemon() *control.Daemon {
	d := &control.Daemon{PID: f.Process.PID}
	switch {
	case d.PID != 0:
	case f.Unit.Failure != "":
		d.Problem = "keepalived does not run: " + f.Unit.Failure
	case f.Unit.Installed:
		d.Problem = "keepalived does not run: " + command(f.Backend, "start", Keepalived)
	default:
		d.Problem = "keepalived does not run: start it, and see to it that a boot does"
	}
	return d
}

// command is what a person types for a verb of the service manager.
func command(backend, verb, service string) string {
	if backend == "systemd" {
		return fmt.Sprintf("`systemctl %s %s`", verb, service)
	}
	return fmt.Sprintf("`/etc/init.d/%s %s`", service, verb)
}

// Problems returns why this router could not become master, or would lose
// connections by it; while it is primary, why it could not stay so. Nothing: it is
// fit, as far as a Report shows.
func Problems(r control.Report) []string { return append(VRRP(r), Connections(r)...) }

// VRRP returns what keeps keepalived here from the role of master.
func VRRP(r control.Report) (all []string) {
	if k := r.Keepalived; k != nil && k.PID == 0 {
		effect := "this router cannot become master"
		if r.Role == intent.Primary {
			effect = "no virtual address is kept here, and nothing decides who is master"
		}
		all = append(all, k.Problem+"; until then "+effect)
	}
	for _, v := range r.VRRP {
		if !v.Alive || v.State != "FAULT" {
			continue
		}
		of := ""
		if v.Name != "" {
			of = " of " + v.Name
		}
		all = append(all, fmt.Sprintf("keepalived[%d] is in FAULT%s: this router cannot become master before what keepalived tracks works again, "+
			"which its log names; if the peer is not master either, nobody is", v.PID, of))
	}
	return all
}

// Connections returns why a backup would not have the connections of its peer.
func Connections(r control.Report) (all []string) {
	if why, failing := strings.CutPrefix(r.Conntrackd, "failing: "); failing && r.Role == intent.Backup {
		all = append(all, why+"; a failover to this router would lose the connections")
	}
	return all
}

// nextBoot returns what would be missing after a boot.
func (f Facts) nextBoot() (all []string) {
	for _, b := range f.Boot {
		if b.Enabled {
			continue
		}
		effect := ""
		switch b.Name {
		case Keepalived:
			effect = "this router will not take part"
		case "wanfail":
			effect = "nothing will be prepared before keepalived calls its first hook"
		case "conntrackd":
			effect = "connections will be lost with the first failover"
		default:
			effect = "there will be no firewall and no translation of addresses"
		}
		all = append(all, fmt.Sprintf("%s is not started at boot, after which %s: %s", b.Name, effect, command(f.Backend, "enable", b.Name)))
	}
	return all
}
