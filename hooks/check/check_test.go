package check

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

func TestVerdict(t *testing.T) {
	now := time.Now()
	up := Parent{WAN: "wan", Name: "eth2", Seen: netif.Observed{ParentExists: true, ParentUp: true, ParentCarrier: true}}
	primary := func(since time.Duration, w control.WAN) Facts {
		w.Name, w.Role, w.Gateway = "wan", intent.Primary, netip.MustParseAddr("192.0.2.1")
		return Facts{Now: now, Parents: []Parent{up}, Report: control.Report{PID: 1, Role: intent.Primary, Since: now.Add(-since), WANs: []control.WAN{w}}}
	}
	held := netip.MustParsePrefix("192.0.2.7/24")
	local := func(f Facts) Facts { f.Local = true; return f }
	tracked := func(f Facts) Facts { f.Tracked = true; return f }
	unfit := Facts{Parents: []Parent{up}, Report: control.Report{Keepalived: &control.Daemon{Problem: "keepalived does not run: start it"}}}
	fault := Facts{Parents: []Parent{up}, Report: control.Report{Keepalived: &control.Daemon{PID: 7}, VRRP: []control.VRRP{{State: "FAULT", PID: 7, Alive: true}}}}
	unreplicated := Facts{Parents: []Parent{up}, Report: control.Report{Keepalived: &control.Daemon{PID: 7}, Conntrackd: "failing: conntrackd is not running"}}
	parent := func(change func(*netif.Observed)) Facts {
		p := up
		change(&p.Seen)
		return Facts{Now: now, Parents: []Parent{p}}
	}
	for name, c := range map[string]struct {
		f    Facts
		ok   bool
		want string
	}{
		"backup":               {Facts{Parents: []Parent{up}}, true, "backup, could be primary"},
		"configuration":        {Facts{Config: errors.New("x:1: bad")}, false, "configuration: x:1: bad"},
		"no keeper":            {Facts{Keeper: control.ErrNoKeeper}, false, "no keeper is running"},
		"keeper hangs":         {Facts{Keeper: errors.New("hangs")}, false, "keeper: hangs"},
		"no parent":            {parent(func(o *netif.Observed) { *o = netif.Observed{} }), false, "parent eth2 does not exist"},
		"parent down":          {parent(func(o *netif.Observed) { o.ParentUp, o.ParentCarrier = false, false }), true, "could be primary"},
		"no carrier":           {parent(func(o *netif.Observed) { o.ParentCarrier = false }), false, "no carrier"},
		"name taken":           {parent(func(o *netif.Observed) { o.Exists, o.Kind = true, "bridge" }), false, "a bridge of this name"},
		"service missing":      {Facts{Parents: []Parent{up}, Missing: []string{"dnsmasq"}}, false, "services not installed: [dnsmasq]"},
		"services busy":        {Facts{Parents: []Parent{up}, Unasked: errors.New("late")}, true, "services not asked: late"},
		"kernel":               {Facts{Parents: []Parent{{WAN: "wan", Err: errors.New("netlink")}}}, false, "wan: netlink"},
		"keepalived down":      {unfit, false, "keepalived does not run: start it; until then this router cannot become master"},
		"keepalived asks":      {tracked(unfit), true, "could be primary"},
		"keepalived, local":    {local(unfit), false, "keepalived does not run"},
		"an older keeper":      {Facts{Parents: []Parent{up}, Report: control.Report{}}, true, "could be primary"},
		"FAULT":                {fault, false, "keepalived[7] is in FAULT: this router cannot become master"},
		"FAULT stays no FAULT": {local(tracked(fault)), true, "could be primary"},
		"no connections":       {unreplicated, false, "conntrackd is not running; a failover to this router would lose the connections"},
		"no connections, too":  {tracked(unreplicated), false, "conntrackd is not running"},
		"FAULT helps nobody":   {local(unreplicated), true, "could be primary"},
		"primary, conntrackd": {func() Facts {
			f := primary(time.Hour, control.WAN{Address: held})
			f.Report.Conntrackd = "failing: x"
			return f
		}(), true, "primary"},
		"primary, VRRP down": {func() Facts {
			f := primary(time.Hour, control.WAN{Address: held})
			f.Report.Keepalived = &control.Daemon{Problem: "keepalived does not run"}
			return f
		}(), false, "nothing decides who is master"},
		"primary":             {primary(time.Hour, control.WAN{Address: held, Gatewayed: &control.Reach{Reachable: true}}), true, "gateway answers"},
		"gateway not asked":   {primary(time.Hour, control.WAN{Address: held}), true, "wan has 192.0.2.7/24"},
		"gateway silent":      {primary(time.Hour, control.WAN{Address: held, Gatewayed: &control.Reach{}}), false, "gateway 192.0.2.1 does not answer"},
		"no lease":            {primary(time.Hour, control.WAN{State: "selecting"}), false, "no lease (selecting)"},
		"error":               {primary(time.Hour, control.WAN{Address: held, Error: "broken"}), false, "wan: broken"},
		"gateway not yet":     {primary(3*time.Second, control.WAN{Address: held, Gatewayed: &control.Reach{}}), true, "does not answer; primary for 3s only"},
		"gateway gone":        {primary(3*time.Second, control.WAN{Address: held, Gatewayed: &control.Reach{LastReply: now}}), false, "does not answer"},
		"no lease yet":        {primary(3*time.Second, control.WAN{State: "selecting"}), true, "primary for 3s only"},
		"clock was set back":  {primary(-time.Hour, control.WAN{State: "selecting"}), false, "no lease"},
		"line dead, local":    {local(primary(time.Hour, control.WAN{State: "selecting"})), true, "primary"},
		"no service, primary": {func() Facts { f := primary(time.Hour, control.WAN{Address: held}); f.Missing = []string{"x"}; return f }(), true, "primary"},
		"other instance": {func() Facts {
			f := primary(time.Hour, control.WAN{Address: held})
			f.Report.WANs = append(f.Report.WANs, control.WAN{Name: "wan2", State: "down"})
			return f
		}(), true, "primary"},
	} {
		t.Run(name, func(t *testing.T) {
			ok, reason := Verdict(c.f)
			if ok != c.ok || !strings.Contains(reason, c.want) || strings.Contains(reason, "\n") {
				t.Errorf("got %t, %q; want %t, %q", ok, reason, c.ok, c.want)
			}
		})
	}
}
