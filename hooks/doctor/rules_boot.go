package doctor

import (
	"fmt"
	"slices"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
)

// keepalivedRuns wants it to run now.
func keepalivedRuns(f *Facts) []Finding {
	if f.Fitness == nil || f.Fitness.Process.PID != 0 || f.Keepalived == nil {
		return nil
	}
	found, fix := "keepalived does not run", f.service("start", "keepalived")
	if f.Fitness.Unit.Failure != "" {
		found += ": " + f.Fitness.Unit.Failure
		if f.Systemd {
			fix = "systemctl reset-failed keepalived; " + fix
		}
		fix += " # its log says why it has ended"
	}
	return one("keepalived-stopped", Error, found, "this router takes part in no election: it cannot become master, and if it was, it is silent now", fix)
}

// nextBoot wants what the router needs to be started by a boot.
func nextBoot(f *Facts) (all []Finding) {
	if f.Fitness == nil {
		return nil
	}
	for _, b := range f.Fitness.Boot {
		if b.Enabled || b.Name == "conntrackd" && f.Config.Conntrackd == config.Off {
			continue
		}
		why := map[string]string{
			"keepalived": "after a boot this router takes part in no election",
			"wanfail":    "after a boot services of the primary run on a backup, until keepalived calls its first hook",
			"conntrackd": "after a boot this router has no sessions of the other one, and the next failover loses them",
		}[b.Name]
		if why == "" {
			why = "after a boot there is no firewall, and nothing masquerades the LAN"
			if slices.ContainsFunc(f.Fitness.Boot, func(o control.AtBoot) bool { return o.Enabled && (o.Name == "nftables" || o.Name == "firewall") }) {
				continue
			}
		}
		all = append(all, one("boot-"+b.Name, Error, fmt.Sprintf("a boot does not start %s", b.Name), why, f.service("enable", b.Name))...)
	}
	return all
}
