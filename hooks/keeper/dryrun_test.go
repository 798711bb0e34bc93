package keeper_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
)

// What a role would do to kernel, services, conntrackd, resolver and scripts, as
// a router goes through its roles with a keeper and without. What is printed is what
// then happens; printing it changes nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t, "--dhcp-option=6,100.64.10.53")
	r, names := &fakeReplica{}, book{}
	with := func(o *keeper.Options) {
		o.Replica, o.Publishers = r, []keeper.Publisher{keeper.Resolver{Names: names}}
	}
	// Duplicate address detection ends with a route, which is nobody's change.
	w.eventually("IPv6 addresses are no longer tentative", 10*time.Second, func() bool {
		addresses, err := os.ReadFile("/proc/thread-self/net/if_inet6")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(addresses)) {
			flags, err := strconv.ParseUint(strings.Fields(line)[4], 16, 32)
			if err != nil || flags&unix.IFA_F_TENTATIVE != 0 {
				return false
			}
		}
		return true
	})
	passing := regexp.MustCompile(`\d+m\d+s left`)
	expects := func(when string, role intent.Role, events string, steps ...string) {
		t.Helper()
		o := w.options()
		with(&o)
		calls := r.calls.Load() + r.yields.Load()
		changes := w.monitor()
		got := keeper.DryRun(t.Context(), o, role)
		if c := changes(); len(c) > 0 || r.calls.Load()+r.yields.Load() != calls {
			t.Errorf("%s: it changed %v, or called conntrackd", when, c)
		}
		for i := range got.Steps {
			got.Steps[i] = passing.ReplaceAllString(got.Steps[i], "TIME left")
		}
		if !slices.Equal(got.Steps, steps) || len(got.Problems) > 0 || strings.Join(got.Events, " ") != events {
			t.Errorf("%s: %s would\n%s\nwith %q, scripts get %q; want\n%s\nwith %s", when, role,
				strings.Join(got.Steps, "\n"), got.Problems, got.Events, strings.Join(steps, "\n"), events)
		}
	}
	expects("at first", intent.Backup, "")
	expects("at first", intent.Primary, "primary bound",
		"conntrackd commit", "wan: add macvlan on eth2 with "+mac, "wan: ask for a lease by DHCP",
		"wan: tell the resolver of the lease", "conntrackd resync", "start dnsmasq", "start miniupnpd")

	stop := w.keeper(with)
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	bare, _, _ := strings.Cut(addr, "/")
	down := []string{
		"conntrackd yield", "wan: silence " + addr, "wan: take the lease back from the resolver",
		"wan: delete macvlan 2s later, when the peer has the connections", "stop dnsmasq", "stop miniupnpd",
	}
	expects("as primary", intent.Primary, "")
	expects("as primary", intent.Backup, "backup lost", down...)
	stop()
	expects("as primary without a keeper", intent.Backup, "backup lost", down...)
	w.keeper(with)
	w.become(intent.Backup)
	w.eventually("the link is deleted", 10*time.Second, func() bool { return len(w.links()) == 0 })
	expects("as backup", intent.Backup, "")
	expects("as backup with a remembered lease", intent.Primary, "primary bound",
		"conntrackd commit", "wan: add macvlan on eth2 with "+mac, "wan: confirm the remembered lease by DHCP",
		"wan: add address "+addr+" (remembered lease, TIME left)", "wan: add route 0.0.0.0/0 via 100.64.10.1", "wan: announce "+bare+" by ARP",
		"wan: tell the resolver of the lease: name servers [100.64.10.53]", "conntrackd resync", "start dnsmasq", "start miniupnpd")

	o := w.options()
	o.Replica = keeper.Replication(config.On, "/nowhere", w.log)
	if got := keeper.DryRun(t.Context(), o, intent.Primary); len(got.Problems) != 1 || !strings.HasPrefix(got.Problems[0], "conntrackd: ") {
		t.Errorf("a conntrackd that is missing: %+v", got)
	}
}
