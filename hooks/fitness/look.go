package fitness

import (
	"context"
	"os"
	"strings"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/services"
)

// Keepalived is the name of its service on all platforms.
const Keepalived = "keepalived"

// Facts are what was found on the machine.
type Facts struct {
	Process intent.Process   // keepalived's; zero: it does not run
	Unit    services.Details // of its service, as far as a service manager was asked
	Backend string           // of that service manager; empty: none
	Boot    []control.AtBoot
}

// Equal reports whether two looks have found the same.
func (f Facts) Equal(g Facts) bool {
	if len(f.Boot) != len(g.Boot) {
		return false
	}
	for i := range f.Boot {
		if f.Boot[i] != g.Boot[i] {
			return false
		}
	}
	return f.Process == g.Process && f.Unit == g.Unit && f.Backend == g.Backend
}

// nftablesFile is what Debian's nftables.service loads.
const nftablesFile = "/etc/nftables.conf"

// Names are the services that have to be started at boot, if they are installed:
// keepalived, wanfail itself, what replicates connections, and what loads the
// rules of a firewall. That is OpenWrt's firewall, or nftables where its file
// translates addresses.
func Names(replicates bool) []string { return names(replicates, nftablesFile) }

func names(replicates bool, nftables string) []string {
	all := []string{Keepalived, "wanfail", "firewall"}
	if replicates {
		all = append(all, "conntrackd")
	}
	text, _ := os.ReadFile(nftables)
	if strings.Contains(string(text), "masquerade") || strings.Contains(string(text), "snat") {
		all = append(all, "nftables")
	}
	return all
}

// Look finds keepalived, and asks m about the services of the given names if it
// can tell details. What a service manager does not answer is left out.
func Look(ctx context.Context, m services.Manager, names []string) (f Facts) {
	if inspector, ok := m.(services.Inspector); ok {
		f.Backend = m.Backend()
		for _, name := range names {
			d, err := inspector.Inspect(ctx, name)
			if err != nil || !d.Installed {
				continue
			}
			if name == Keepalived {
				f.Unit = d
			}
			f.Boot = append(f.Boot, control.AtBoot{Name: name, Enabled: d.AtBoot})
		}
	}
	if p, err := intent.Find(f.Unit.PID); err == nil && f.Unit.PID != 0 {
		f.Process = p
	} else if p, ok := intent.FindKeepalived(); ok {
		f.Process = p
	}
	return f
}
