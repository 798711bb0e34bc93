package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestDrill: the peer takes the WAN over and gives it back, and nobody on the LAN
// loses a session. Without a peer, nothing happens.
func TestDrill(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{Conntrackd: true})
	w.shipped("keepalived-drill.conf")
	ar0, ar1 := w.pair()
	before, _, err := ar0.HasWAN()
	w.must(err)
	live := w.sessions()

	since := time.Now()
	out, code := w.code(ar0, "wanfail", "drill", "--yes", "--hold", "1s")
	t.Logf("drill:\n%s", out)
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	rest := out
	for _, phase := range []string{
		"VI_1, for wan: this router will", "priority lowered to 1", "wan backup, by keepalived[", "  silent after",
		"priority put back", "wan primary, by keepalived[", "  address after", "everything is as before", lab.VIP.Addr().String() + " unanswered for at most ",
	} {
		at := strings.Index(rest, phase)
		if at < 0 {
			t.Errorf("the report lacks %q, or names it too early", phase)
			continue
		}
		rest = rest[at:]
	}
	away, ok := w.tl.First(since, lab.Is(ar1.Name, lab.KindAddr, before.Addr().String()))
	if !ok {
		t.Fatalf("%s was never given %s", ar1.Name, before.Addr())
	}
	back := w.hookStart(ar0, away.At, "primary")
	if held := back.Sub(away.At); held < time.Second {
		t.Errorf("the peer held the WAN for %v, want a second", held)
	}
	live(back)
	if after := w.isPrimary(ar0); after != before {
		t.Errorf("the address was %s and is %s", before, after)
	}
	w.becomesBackup(ar1)
	w.noRelease()

	w.must(ar1.StopKeepalived(w.ctx))
	since = time.Now()
	out, code = w.code(ar0, "wanfail", "drill", "--yes", "--limit", "1s")
	if code != 1 || !strings.Contains(out, "the peer did not take over: this router stayed master all the time") {
		t.Errorf("drill without a peer: exit %d\n%s", code, out)
	}
	w.stays(since, 500*time.Millisecond) // the priority is back, and nothing comes of that either
	if text := w.out(ar0, "cat", "/run/wanfail.drill"); text != "0" {
		t.Errorf("the track_file holds %q", text)
	}
	w.isPrimary(ar0)
	live(since)
}

// TestDrillGroup: a sync group of two instances moves as one, there and back.
func TestDrillGroup(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{Conntrackd: true})
	const second = "192.168.77.5"
	group := `vrrp_sync_group G {
    group {
        VI_1
        VI_2
    }
    track_file {
        wanfail_drill
    }
}

vrrp_instance VI_2 {
    version 3
    state BACKUP
    interface eth1
    virtual_router_id 52
    priority PRIORITY
    advert_int 0.1
    virtual_ipaddress {
        ` + second + `/24 dev eth1
    }
}

vrrp_instance VI_1 {
    version`
	w.shipped("keepalived-drill.conf", "vrrp_instance VI_1 {\n    version", group, "    advert_int 0.1\n    track_file {\n        wanfail_drill\n    }\n", "    advert_int 0.1\n")
	// The priority shows which router is master of which instance.
	priorities := [2][2]int{{250, 150}, {220, 90}}
	for i := range 2 {
		r := w.l.Router(i)
		text, err := r.ReadFile("/etc/keepalived/keepalived.conf")
		w.must(err)
		w.must(r.WriteFile("/etc/keepalived/keepalived.conf", strings.Replace(text, "PRIORITY", strconv.Itoa(priorities[i][1]), 1), 0o644))
	}
	ar0, ar1 := w.pair()
	before, _, err := ar0.HasWAN()
	w.must(err)
	live := w.sessions()
	adverts, err := w.l.Capture(ar0.LAN(), lab.FilterControl())
	w.must(err)

	since := time.Now()
	out, code := w.code(ar0, "wanfail", "drill", "--yes", "--hold", "1s")
	t.Logf("drill:\n%s", out)
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		"group G (VI_1, VI_2), for wan: this router will", "everything is as before",
		"the peer answers for " + lab.VIP.Addr().String(), "the peer answers for " + second,
		lab.VIP.Addr().String() + " unanswered for at most ", second + " unanswered for at most ",
	} {
		if strings.Count(out, want) != 1 {
			t.Errorf("the report does not say %q once", want)
		}
	}
	if after := w.isPrimary(ar0); after != before {
		t.Errorf("the address was %s and is %s", before, after)
	}
	w.becomesBackup(ar1)

	// first is the first advert of a router with a priority.
	first := func(after time.Time, r *lab.Router, priority int) time.Time {
		t.Helper()
		f, err := adverts.Wait(w.ctx, func(f lab.Frame) bool {
			a, ok := f.Advert()
			return ok && f.At.After(after) && a.From == r.Address() && a.Priority == priority
		})
		w.must(err)
		return f.At
	}
	away := [2]time.Time{first(since, ar1, priorities[1][0]), first(since, ar1, priorities[1][1])}
	back := [2]time.Time{first(away[1], ar0, priorities[0][0]), first(away[1], ar0, priorities[0][1])}
	for _, c := range []struct {
		what string
		at   [2]time.Time
	}{{"away", away}, {"back", back}} {
		apart := c.at[1].Sub(c.at[0]).Abs()
		t.Logf("the instances move %s within %v", c.what, ms(apart))
		if apart > 50*time.Millisecond { // half an advert
			t.Errorf("the group was torn for %v on the way %s", ms(apart), c.what)
		}
	}
	live(back[1])
	w.noRelease()
	w.must(adverts.Close())
}

// recorder is a user script that keeps what it was told.
const recorder = `#!/bin/sh
echo "$1 $WANFAIL_EVENT role=$WANFAIL_ROLE wan=$WANFAIL_WAN address=$WANFAIL_ADDRESS prefix=$WANFAIL_PREFIX gateway=$WANFAIL_GATEWAY server=$WANFAIL_SERVER lease=$WANFAIL_LEASE_SECONDS old=$WANFAIL_OLD_ADDRESS" >>/root/events
`

// TestUserScripts: scripts on both routers are called for a failover, with the lease in
// their environment.
func TestUserScripts(t *testing.T) {
	for _, backend := range []lab.Backend{lab.Systemd, lab.Init} {
		t.Run(string(backend), func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{Backend: backend})
			for i := range 2 {
				w.must(w.l.Router(i).WriteFile("/etc/wanfail/hooks.d/record", recorder, 0o755))
			}
			ar0, ar1 := w.pair()
			before, _, err := ar0.HasWAN()
			w.must(err)
			w.must(ar0.StopKeepalived(w.ctx))
			w.becomesPrimary(ar1)
			w.becomesBackup(ar0)

			role := func(name string) string {
				return name + " " + name + " role=" + name + " wan= address= prefix= gateway= server= lease= old="
			}
			addr := before.Addr().String()
			gw := lab.Gateway.String()
			bound := "bound bound role= wan=wan address=" + addr + " prefix=" + before.String() + " gateway=" + gw + " server=" + gw + " lease=3600 old="
			lost := "lost lost role= wan=wan address= prefix= gateway= server= lease= old=" + addr
			for _, c := range []struct {
				r    *lab.Router
				told []string
			}{
				{ar0, []string{role("backup"), role("primary"), bound, role("backup"), lost}},
				{ar1, []string{role("backup"), role("primary"), bound}},
			} {
				var text string
				w.eventually("scripts of "+c.r.Name, func() (bool, error) {
					text, _ = c.r.ReadFile("/root/events") // not there before the first
					return strings.Count(text, "\n") >= len(c.told), nil
				})
				if want := strings.Join(c.told, "\n") + "\n"; text != want {
					t.Errorf("scripts of %s were told:\n%swant:\n%s", c.r.Name, text, want)
				}
			}
		})
	}
}
