package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wanfail/wanfail/hooks/keepalived"
)

// one is called often; inlined it would be a tenth of the package.
//
//go:noinline
func one(id string, s Severity, found, why, fix string) []Finding {
	return []Finding{{ID: id, Severity: s, Found: found, Why: why, Fix: fix}}
}

func configuration(f *Facts) []Finding {
	if f.ConfigErr == nil {
		return nil
	}
	return one("configuration", Error, f.ConfigErr.Error(), "no keeper starts with it", "by hand: correct the file at the line that is named; then "+f.restart("wanfail"))
}

func keeperRuns(f *Facts) []Finding {
	if f.Keeper == nil || f.ConfigErr != nil {
		return nil
	}
	return one("keeper", Error, "keeper: "+f.Keeper.Error(),
		"the first hook has to start one, and nobody renews the lease until then",
		f.enable("wanfail"))
}

func keepalivedThere(f *Facts) []Finding {
	switch {
	case f.Keepalived != nil && f.KeepalivedErr == nil && len(f.Keepalived.Instances) == 0:
		return one("keepalived", Error, f.Keepalived.File+" has no vrrp_instance", "nobody decides who is primary", f.beginKeepalived())
	case f.KeepalivedErr == nil:
		return nil
	case errors.Is(f.KeepalivedErr, fs.ErrNotExist):
		return one("keepalived", Error, "there is no keepalived.conf", "nobody decides who is primary", f.install("keepalived")+f.beginKeepalived())
	}
	return one("keepalived", Error, "keepalived.conf: "+f.KeepalivedErr.Error(), "its hooks could not be looked at", "by hand: keepalived -t says what it thinks of the file")
}

// what happens without a hook.
var without = map[string]string{
	"notify_master": "this router never takes the WAN over",
	"notify_backup": "this router keeps the WAN when a better one takes over: one MAC address in two places, and no session survives",
	"notify_fault":  "when a tracked interface or script fails, this router keeps the WAN while the peer raises it too: one MAC address in two places, and no session survives",
	"notify_stop":   "each `systemctl stop keepalived` leaves the WAN up on both routers: one MAC address in two places, and no session survives",
}

func missingHooks(f *Facts) (all []Finding) {
	if f.Keepalived == nil || f.Keepalived.OurFIFO() != nil {
		return nil
	}
	any := slices.ContainsFunc(f.Keepalived.Instances, func(i *keepalived.Instance) bool { return len(i.Ours()) > 0 })
	if !any && len(f.Keepalived.Instances) > 0 {
		var lines []string
		for _, event := range keepalived.Required() {
			lines = append(lines, notifyLine(event))
		}
		return one("notify", Error, "nothing in "+f.Keepalived.File+" calls wanfail", "wanfail is not notified of the state of VRRP", f.addLines(f.Keepalived.Instances[0], nil, lines...))
	}
	for _, i := range f.Keepalived.Instances {
		have := i.Ours()
		if _, generic := have["notify"]; generic || len(have) == 0 {
			continue
		}
		for _, event := range keepalived.Required() {
			_, there := have[event]
			if there || i.Group && event == "notify_stop" && f.stops() {
				continue
			}
			all = append(all, one(strings.ReplaceAll(event, "_", "-"), Error, fmt.Sprintf("%s has no %s (%s)", i.Title(), event, i.Where),
				without[event], f.addLines(i, nil, notifyLine(event)))...)
		}
	}
	return all
}

// stops reports whether an instance says so when it stops: groups cannot.
func (f *Facts) stops() bool {
	return slices.ContainsFunc(f.Keepalived.Instances, func(i *keepalived.Instance) bool {
		have := i.Ours()
		_, stop := have["notify_stop"]
		_, generic := have["notify"]
		return !i.Group && (stop || generic)
	})
}

// refusedHooks looks at every component of a hook's path as keepalived's script
// security does.
func refusedHooks(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, h := range f.Keepalived.Hooks() {
		if !h.Ours && !strings.Contains(h.Path, "wanfail") || seen[h.Path] {
			continue
		}
		seen[h.Path] = true
		if bad := refused(h, f.reloadKeepalived()); bad.Found != "" {
			bad.Why = "keepalived runs the hook as root, and whoever may write there becomes root"
			if f.Keepalived.Security {
				bad.Severity, bad.Why = Error, "enable_script_security disables the hook, with no more than a line in the log"
			}
			if bad.ID == "hook-missing" {
				bad.Severity, bad.Why = Error, "keepalived disables the hook, with no more than a line in the log"
			}
			all = append(all, bad)
		}
	}
	return all
}

// hookUser wants hooks to be run by root. Without script_user keepalived's log
// asks for a user keepalived_script, and whoever makes one has no hooks.
func hookUser(f *Facts) (all []Finding) {
	k := f.Keepalived
	if k == nil {
		return nil
	}
	const why = "wanfail cannot change the network, nor reach its keeper"
	for _, h := range k.Hooks() {
		switch {
		case !h.Ours || h.User == "root":
		case h.User != "":
			return one("hook-user", Error, fmt.Sprintf("%s is run by user '%s' (%s)", h.Event, h.User, h.Where), why,
				"by hand: the command and its arguments in one pair of quotes, and no user after it; then "+f.reloadKeepalived())
		case k.User != "root":
			fix := uciSet("keepalived.globals=globals", "keepalived.globals.script_user=root") + "; " + f.reloadKeepalived()
			switch {
			case f.uciMade():
			case k.UserFrom == "":
				fix = fmt.Sprintf(`sed -i '1i global_defs {\n    script_user root\n}' %s; %s`, quote(k.File), f.reloadKeepalived())
			default:
				fix = fmt.Sprintf(`sed -i -E 's/^(\s*script_user)\s.*/\1 root/' %s; %s`, quote(k.UserFrom), f.reloadKeepalived())
			}
			return one("hook-user", Error, "user "+k.User+" runs keepalived's scripts", why, fix)
		}
	}
	return nil
}

func refused(h *keepalived.Hook, reload string) Finding {
	if len(h.Parts) == 0 {
		fix := fmt.Sprintf("sed -i -E %s %s; %s", quote("s/"+pattern(h.Path)+"/"+pattern(program)+"/"), quote(h.File()), reload)
		if h.Path == program {
			fix = "by hand: install wanfail"
		}
		return Finding{ID: "hook-missing", Found: fmt.Sprintf("%s of %s does not exist (%s)", h.Path, h.Event, h.Where), Fix: fix}
	}
	for _, p := range h.Parts {
		switch {
		case p.UID != 0:
			return Finding{ID: "hook-owner", Severity: Warning, Found: fmt.Sprintf("%s, on the way to hook %s, belongs to uid %d", p.Path, h.Path, p.UID), Fix: "chown root " + quote(p.Path) + "; " + reload}
		case p.Mode&0o022 != 0:
			return Finding{ID: "hook-writable", Severity: Warning, Found: fmt.Sprintf("%s, on the way to hook %s, may be written by others (mode %04o)", p.Path, h.Path, p.Mode), Fix: "chmod go-w " + quote(p.Path) + "; " + reload}
		}
	}
	if last := h.Parts[len(h.Parts)-1]; last.Mode&0o111 == 0 {
		return Finding{ID: "hook-missing", Found: last.Path + " is not executable", Fix: "chmod 755 " + quote(last.Path) + "; " + reload}
	}
	return Finding{}
}

func severalHooks(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	fifo := f.Keepalived.OurFIFO()
	for _, i := range f.Keepalived.Instances {
		have := i.Ours()
		_, generic := have["notify"]
		switch {
		case fifo != nil && len(have) > 0:
			all = append(all, one("several-hooks", Warning, fmt.Sprintf("%s has hooks beside the FIFO of %s", i.Title(), fifo.Where),
				"each change is notified twice, on two channels that are not ordered among each other; the later one counts",
				f.removeHooks(have, `notify(_[a-z]+)?`))...)
		case generic && len(have) > 1:
			all = append(all, one("several-hooks", Warning, fmt.Sprintf("%s has notify and notify_*, both for wanfail (%s)", i.Title(), i.Where),
				"each change starts two processes with the same notification", f.removeHooks(have, "notify"))...)
		}
	}
	return all
}

func fastAdverts(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	for _, i := range f.Keepalived.Instances {
		if !i.Group && i.Version != 3 && i.Advert != math.Trunc(i.Advert) {
			all = append(all, one("advert-version", Error, fmt.Sprintf("%s has advert_int %g in VRRP version %d (%s)", i.Title(), i.Advert, i.Version, i.Where),
				"version 2 counts in whole seconds: keepalived rounds, and detection takes 3 s instead of a third of one", f.addLines(i, []string{"version=3"}, "version 3")+" # on both routers")...)
		}
	}
	return all
}

// drillLeft looks for what a drill that was killed has left behind.
func drillLeft(f *Facts) (all []Finding) {
	if f.Keepalived == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.Keepalived.TrackFiles)) {
		t := f.Keepalived.TrackFiles[name]
		if n, err := strconv.Atoi(t.Value); strings.Contains(name, "drill") && err == nil && n != 0 && !t.Held {
			all = append(all, one("drill-left", Warning, fmt.Sprintf("%s holds %d, and no drill runs: one was killed", t.Path, n),
				"keepalived adds it to the priority: this router leaves the role to the peer", "echo 0 >"+quote(t.Path))...)
		}
	}
	return all
}

func syncHook(f *Facts) (all []Finding) {
	for _, t := range f.SyncHooks {
		all = append(all, one("sync-hook", Warning, "another script drives a service of wanfail's on each VRRP change: "+t.Found,
			"it starts and stops at the same time as wanfail, in another order, and on a backup it wins for a second or two", t.Fix)...)
	}
	return all
}
