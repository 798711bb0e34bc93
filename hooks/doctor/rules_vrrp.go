package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// vrrpState looks at the state in which an instance begins, before it has received
// adverts.
func vrrpState(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	for _, i := range f.Keepalived.Instances {
		if i.Group || i.State != "MASTER" {
			continue
		}
		why := "a router that boots takes the role first and listens later: the peer loses its sessions, and with the same on both routers each boot is a failover"
		if i.NoPreempt {
			why += "; keepalived ignores nopreempt with it"
		}
		file, _, _ := strings.Cut(i.Where, ":")
		all = append(all, one("vrrp-state", Warning, fmt.Sprintf("%s has state MASTER (%s)", i.Title(), i.Where), why,
			f.edit(i, []string{"state=BACKUP"}, file, `s/^([[:space:]]*state[[:space:]]+)MASTER/\1BACKUP/`)+" # on both routers: the priority decides")...)
	}
	return all
}

// follows are the WANs that an instance drives.
func (f *Facts) follows(i *keepalived.Instance) (wans []config.WAN) {
	group := f.Keepalived.GroupOf(i)
	ours := f.Keepalived.OurFIFO() != nil || len(i.Ours()) > 0 || group != nil && len(group.Ours()) > 0
	for _, w := range f.Config.WANs {
		if w.Instance == "" && ours || w.Instance == i.Name || group != nil && w.Instance == group.Name {
			wans = append(wans, w)
		}
	}
	return wans
}

// tracking wants a port without a cable to be a FAULT, and the WAN itself not to
// be tracked: a backup has none.
func tracking(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	for _, i := range f.Keepalived.Instances {
		tracked, checks := i.Tracked, i.Checks
		if g := f.Keepalived.GroupOf(i); g != nil {
			tracked, checks = slices.Concat(tracked, g.Tracked), slices.Concat(checks, g.Checks)
		}
		checked := slices.ContainsFunc(checks, func(name string) bool {
			return strings.Contains(f.Keepalived.Scripts[name], "wanfail") && strings.Contains(f.Keepalived.Scripts[name], "check")
		})
		for _, w := range f.Config.WANs {
			if slices.Contains(i.Tracked, w.Name) {
				file, _, _ := strings.Cut(i.Where, ":")
				all = append(all, one("track-wan", Error, fmt.Sprintf("%s tracks %s, which only a primary has (%s)", i.Title(), w.Name, i.Where),
					"a backup is in FAULT for as long as it has no WAN, and so it never becomes master",
					f.edit(i, nil, file, fmt.Sprintf(`/^[[:space:]]*track_interface/,/\}/s/^([[:space:]]*)%s([[:space:]]|$)/\1%s\2/`, pattern(w.Name), w.Parent)))...)
			}
		}
		if i.Group {
			continue
		}
		for _, w := range f.follows(i) {
			if checked || slices.Contains(tracked, w.Parent) || slices.Contains(tracked, w.Name) || i.Interface == w.Parent {
				continue
			}
			all = append(all, one("track-interface", Warning, fmt.Sprintf("%s does not track %s, the port of %s (%s)", i.Title(), w.Parent, w.Name, i.Where),
				"a master without a cable to the ISP stays master, while the peer could serve the LAN",
				f.addLines(i, nil, fmt.Sprintf(`track_interface {\n%s\n}`, w.Parent)))...)
		}
	}
	return all
}

// wrongRole looks for hooks that ask for another role than the event means.
func wrongRole(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	want := map[string][]string{
		"notify_master": {"primary", "master"},
		"notify_backup": {"backup", "fault", "stop"}, "notify_fault": {"backup", "fault", "stop"}, "notify_stop": {"backup", "fault", "stop"},
		"notify": {"notify"}, "notify_master_rx_lower_pri": {"announce"}, "vrrp_notify_fifo_script": {"fifo"}, "notify_fifo_script": {"fifo"},
	}
	for _, h := range f.Keepalived.Hooks() {
		role := h.Role()
		if path := strings.Fields(h.Command); h.User != "" || role == "" && (len(path) != 1 || !strings.HasSuffix(path[0], "/wanfail")) || slices.Contains(want[h.Event], role) {
			continue
		}
		right := strings.TrimSpace(strings.TrimSuffix(h.Command, role)) + " " + want[h.Event][0]
		all = append(all, one("notify-role", Error, fmt.Sprintf("%s runs `%s` (%s)", h.Event, h.Command, h.Where), "the router does the opposite of what keepalived has decided, or nothing",
			f.edit(nil, nil, h.File(), fmt.Sprintf(`s/^([[:space:]]*%s[[:space:]]+"?)%s("|[[:space:]]|$)/\1%s\2/`, h.Event, pattern(h.Command), strings.NewReplacer(`\`, `\\`, `/`, `\/`, `&`, `\&`).Replace(right))))...)
	}
	return all
}

// backupGateway wants the backup to reach the internet through the master.
func backupGateway(f *Facts) []Finding {
	a := f.Config.BackupGateway
	if !a.IsValid() || f.Keepalived == nil {
		return nil
	}
	var vips []string
	for _, i := range f.Keepalived.Instances {
		for _, v := range i.Virtual() {
			if v == a {
				return nil
			}
			if v.Is4() {
				vips = append(vips, v.String())
			}
		}
	}
	if len(vips) == 0 {
		return nil
	}
	fix := fmt.Sprintf("sed -i -E %s %s", quote(fmt.Sprintf(`s/^([[:space:]]*option[[:space:]]+backup_gateway[[:space:]]).*/\1'%s'/`, vips[0])), quote(f.ConfigPath))
	if f.OpenWrt {
		fix = uciSet("wanfail.@wanfail[0].backup_gateway=" + vips[0])
	}
	return one("backup-gateway", Error, fmt.Sprintf("backup_gateway %s is no virtual address of keepalived's (%s)", a, strings.Join(vips, ", ")),
		"a backup sends its own traffic to an address that does not follow the master", fix+"; "+f.restart("wanfail"))
}

// syntax is what keepalived itself says of its configuration, but for what the
// other rules say with a remedy.
func syntax(f *Facts) []Finding {
	var said []string
	for _, line := range f.Test {
		if !strings.Contains(line, ": Line ") || slices.ContainsFunc([]string{
			"doesn't exist", "rounding", "ecurity", "nsafe permissions", "nopreempt", "disabling", "not found", "runnable",
		}, func(known string) bool { return strings.Contains(line, known) }) {
			continue
		}
		said = append(said, line)
	}
	if len(said) == 0 {
		return nil
	}
	return one("keepalived-test", Warning, "keepalived -t: "+strings.Join(said, "; "), "keepalived leaves out what it does not understand",
		byHand+"correct the lines that are named; then "+f.reloadKeepalived())
}

// noMaster is a pair without one.
func noMaster(f *Facts) (all []Finding) {
	for _, v := range f.Masterless {
		all = append(all, one("no-master", Error, fmt.Sprintf("nobody has the virtual address %s: the pair has no master", v.Address),
			"the LAN has neither gateway nor internet", byHand+"find out why neither router is master: wanfail doctor and journalctl -u keepalived (logread -e Keepalived) on both")...)
	}
	return all
}

// fault is a router that cannot take over.
func fault(f *Facts) (all []Finding) {
	const why = "this router cannot become master"
	_, ports := f.names()
	if f.Keepalived != nil && f.Running != nil {
		for _, i := range f.Keepalived.Instances {
			for _, device := range append([]string{i.Interface}, i.Needed...) {
				running, exists := f.Running[device]
				if running || device == "" || slices.Contains(namesOf(f.Config.WANs), device) {
					continue
				}
				state, fix := "has no carrier, or is down", byHand+"find out why "+device+" does not run"
				if !exists {
					state = "does not exist"
				}
				if slices.Contains(ports, device) && exists {
					fix = f.bringUp(device)
				}
				all = append(all, one("vrrp-fault", Error, fmt.Sprintf("%s is in FAULT: %s %s", i.Title(), device, state), why, fix)...)
			}
		}
	}
	for _, name := range f.Faults {
		if len(all) == 0 {
			all = append(all, one("vrrp-fault", Error, strings.TrimSpace("keepalived has reported FAULT "+name), why+": what it tracks, an interface, a script or a file, has failed", byHand+"the log of keepalived names it")...)
		}
	}
	return all
}

func namesOf(wans []config.WAN) (all []string) {
	for _, w := range wans {
		all = append(all, w.Name)
	}
	return all
}

// byHandRole is a role that was set by hand against keepalived.
func byHandRole(f *Facts) (all []Finding) {
	for _, b := range f.ByHand {
		found, _, _ := strings.Cut(b.Text, ": ")
		why, fix := "if the peer is master, both routers are primary: one MAC address in two places", "wanfail backup"
		if b.Role == intent.Backup {
			why, fix = "while that lasts, neither router may be primary", "wanfail primary"
		}
		all = append(all, one("role-by-hand", Error, b.WAN+": "+found, why, fix)...)
	}
	return all
}
