package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
)

func TestPrimaryAndBack(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	a := w.become(intent.Primary)
	_, addr, ok := w.holds()
	if !ok || !netip.MustParsePrefix("100.64.10.0/24").Contains(netip.MustParsePrefix(addr).Addr()) {
		t.Fatalf("address %q, complete %v", addr, ok)
	}
	if w.services.pid("dnsmasq") == 0 || w.services.pid("miniupnpd") == 0 {
		t.Error("services are not up")
	}
	var names []string
	for _, p := range a.Phases {
		names = append(names, p.Name)
	}
	for _, want := range []string{"macvlan", "lease", "address", "start dnsmasq"} {
		if !slices.Contains(names, want) {
			t.Errorf("phases %q lack %q", names, want)
		}
	}
	r := w.status()
	if r.Role != intent.Primary || len(r.WANs) != 1 || r.WANs[0].State != "bound" || r.WANs[0].Address.String() != addr ||
		r.WANs[0].Gateway.String() != "100.64.10.1" || r.WANs[0].LeaseSeconds < 3500 {
		t.Errorf("status %+v", r)
	}

	again := w.become(intent.Primary)
	if !again.Already || len(again.Phases) != 0 {
		t.Errorf("the same role again: %+v", again)
	}

	w.become(intent.Backup)
	if len(w.links()) != 0 || w.services.pid("dnsmasq") != 0 {
		t.Errorf("backup has links %v", w.links())
	}
	if r := w.status(); r.Role != intent.Backup || r.WANs[0].State != "standby" || len(r.Transitions) < 3 {
		t.Errorf("status %+v", r)
	}

	// The second time the lease is remembered.
	w.become(intent.Primary)
	if _, second, _ := w.holds(); second != addr {
		t.Errorf("address %s, before %s", second, addr)
	}
}

// The keeper goes and comes: nothing changes in the kernel.
func TestRestartChangesNothing(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	link, addr, _ := w.holds()
	pid := w.services.pid("dnsmasq")
	stop()
	if _, now, ok := w.holds(); !ok || now != addr {
		t.Fatal("the WAN was deleted when the keeper ended")
	}
	changes := w.monitor()
	w.keeper()
	w.eventually("bound again", 5*time.Second, func() bool { return w.status().WANs[0].State == "bound" })
	if now, nowAddr, ok := w.holds(); !ok || nowAddr != addr || now.Attrs().Index != link.Attrs().Index {
		t.Errorf("the WAN is another one: %s", nowAddr)
	}
	if w.services.pid("dnsmasq") != pid {
		t.Error("dnsmasq was restarted")
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("the kernel was changed: %v", got)
	}
}

func TestIdempotent(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	pid := w.services.pid("dnsmasq")
	changes := w.monitor()
	for range 100 {
		if a := w.become(intent.Primary); !a.Already {
			t.Fatalf("%+v", a)
		}
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("100 repetitions changed the kernel: %v", got)
	}
	if w.services.pid("dnsmasq") != pid {
		t.Error("dnsmasq was restarted")
	}
}

func TestHeals(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	healed := func() bool { _, now, ok := w.holds(); return ok && now == addr }
	for name, harm := range map[string]func() error{
		"link deleted": func() error { return netlink.LinkDel(w.links()[0]) },
		"address removed": func() error {
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			return netlink.AddrDel(w.links()[0], a)
		},
		"route removed": func() error {
			return netlink.RouteDel(&netlink.Route{LinkIndex: w.links()[0].Attrs().Index, Gw: netip.MustParseAddr("100.64.10.1").AsSlice(), Protocol: netif.Protocol})
		},
		"link down": func() error { return netlink.LinkSetDown(w.links()[0]) },
	} {
		if err := harm(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.eventually("healed after: "+name, 10*time.Second, healed)
	}
}

func TestParentGoesAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	parent, err := netlink.LinkByName(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(parent); err != nil {
		t.Fatal(err)
	}
	w.eventually("the missing parent is reported", 5*time.Second, func() bool { return w.status().WANs[0].Error != "" })
	w.isp.Veth(t, port, "isp0")
	w.isp.Do(t, func() error {
		l, err := netlink.LinkByName("isp0")
		if err != nil {
			return err
		}
		a, _ := netlink.ParseAddr("100.64.10.1/24")
		return netlink.AddrAdd(l, a)
	})
	w.eventually("up again on the new parent", 15*time.Second, func() bool { _, now, ok := w.holds(); return ok && now == addr })
}

// keepalived exits without notifying.
func TestKeepalivedExitsWithoutNotifying(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	p, kill := w.process()
	i := w.intent(intent.Primary)
	i.Owner = p
	if a := w.say(i, 10*time.Second); a.Outcome != control.Reached {
		t.Fatalf("%+v", a)
	}
	kill()
	w.eventually("backup after keepalived's death", 100*time.Millisecond*slow, func() bool { return len(w.links()) == 0 })
	if r := w.status(); r.Role != intent.Backup || !strings.Contains(r.By, "exited without notifying") {
		t.Errorf("status %+v", r)
	}
	// What an exited keepalived requested does not count for the next keeper either.
	i = w.intent(intent.Primary)
	i.Owner = p
	if a := w.say(i, 5*time.Second); a.Outcome != control.Degraded || len(w.links()) != 0 {
		t.Errorf("a request of a keepalived that has exited: %+v", a)
	}
}

// The keeper gets a role request from the hook before it reads it in the record.
// Then, too, it must go on watching keepalived when the hook has ended.
func TestKeepalivedIsWatchedAfterTheHook(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	p, kill := w.process()
	i := w.intent(intent.Primary)
	i.Owner = p
	conn, err := control.Dial(t.Context(), rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	var a control.Answer
	if err := conn.Ask(t.Context(), control.Request{Op: control.OpSettle, Intent: &i, Wait: 10 * time.Second}, &a); err != nil || a.Outcome != control.Reached {
		t.Fatalf("%+v, %v", a, err)
	}
	_ = conn.Close()
	w.status() // the keeper has noticed that the hook has ended, or does by now
	kill()
	w.eventually("backup after keepalived's death", 100*time.Millisecond*slow, func() bool { return len(w.links()) == 0 })
}

// A slow service does not delay a newer role.
func TestLatestWinsOverSlowService(t *testing.T) {
	w := newWorld(t)
	w.services.delay = time.Minute
	w.keeper()
	first := make(chan control.Answer, 1)
	i := w.intent(intent.Primary)
	go func() {
		a, err := w.hook().Say(context.Background(), control.OpSettle, i, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	w.eventually("address", 5*time.Second, func() bool { _, _, ok := w.holds(); return ok })
	start := time.Now()
	w.become(intent.Backup)
	if took := time.Since(start); took > time.Second {
		t.Errorf("backup took %v", took)
	}
	if a := <-first; a.Outcome != control.Superseded || a.Role != intent.Backup {
		t.Errorf("the older hook was told %+v", a)
	}
}

func TestNoServer(t *testing.T) {
	w := newLine(t)
	w.keeper()
	a := w.say(w.intent(intent.Primary), 300*time.Millisecond)
	if a.Outcome != control.Degraded || !strings.Contains(strings.Join(a.Problems, "\n"), "no lease yet") {
		t.Errorf("%+v", a)
	}
	if w.services.pid("dnsmasq") == 0 {
		t.Error("a WAN without a lease delayed the services")
	}
	w.become(intent.Backup)
}

func TestServiceFails(t *testing.T) {
	w := newWorld(t)
	w.services.fail["miniupnpd"] = errors.New("no such binary")
	w.keeper()
	a := w.say(w.intent(intent.Primary), 10*time.Second)
	if a.Outcome != control.Degraded || !strings.Contains(strings.Join(a.Problems, "\n"), "miniupnpd: no such binary") {
		t.Errorf("%+v", a)
	}
	if _, _, ok := w.holds(); !ok {
		t.Error("a failing service delayed the WAN")
	}
}

// While backup, services that the platform starts are stopped again, and links
// with our mark are removed; links of others stay.
func TestEnforcesBackup(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	w.become(intent.Backup)
	if err := w.services.Start(t.Context(), "dnsmasq"); err != nil {
		t.Fatal(err)
	}
	w.eventually("dnsmasq is stopped again", 5*time.Second, func() bool { return w.services.pid("dnsmasq") == 0 })

	parent, err := netlink.LinkByName(port)
	if err != nil {
		t.Fatal(err)
	}
	foreign := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: wanName, ParentIndex: parent.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	w.eventually("the foreign link is reported", 5*time.Second, func() bool { return w.status().WANs[0].Error != "" })
	if _, err := netlink.LinkByName(wanName); err != nil {
		t.Error("a link that is not wanfail's was removed")
	}
	if err := netlink.LinkDel(foreign); err != nil {
		t.Fatal(err)
	}
	w.eventually("the report is withdrawn", 5*time.Second, func() bool { return w.status().WANs[0].Error == "" })
}

// With no keeper at all, backup works.
func TestBackupAlone(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	stop()
	a := w.become(intent.Backup)
	if len(w.links()) != 0 || w.services.pid("dnsmasq") != 0 {
		t.Errorf("left %v after %+v", w.links(), a)
	}
}

// withAndWithout runs f on a primary with a keeper, and on one whose keeper has
// ended.
func withAndWithout(t *testing.T, f func(t *testing.T, w *world)) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) {
			w := newWorld(t)
			stop := w.keeper()
			w.become(intent.Primary)
			if alone {
				stop()
			}
			f(t, w)
		})
	}
}

// The record cannot be written, but the router becomes backup, with and without
// a keeper.
func TestBackupWithoutARecord(t *testing.T) {
	withAndWithout(t, func(t *testing.T, w *world) {
		// A directory in the place of the new record, with something in it, defeats
		// each try to write one, for root too.
		if err := os.MkdirAll(filepath.Join(w.dir, rundir.IntentFile+".new", "full"), 0o755); err != nil {
			t.Fatal(err)
		}
		a := w.say(w.intent(intent.Backup), 5*time.Second)
		if len(w.links()) != 0 {
			t.Errorf("still there: %v", w.links())
		}
		if a.Outcome != control.Degraded || !strings.Contains(strings.Join(a.Problems, "\n"), "record intent") {
			t.Errorf("%+v", a)
		}
	})
}

func TestCorruptRecordKeepsTheRole(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	path := filepath.Join(w.dir, rundir.IntentFile)
	if err := os.WriteFile(path+".x", []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".x", path); err != nil {
		t.Fatal(err)
	}
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the record is whole again", 5*time.Second, func() bool {
		is, err := store.Load()
		return err == nil && len(is) == 1 && is[0].Role == intent.Primary
	})
	if _, _, ok := w.holds(); !ok {
		t.Error("a corrupt file took the WAN down")
	}
}

func TestOnlyOneKeeper(t *testing.T) {
	w := newLine(t)
	w.keeper()
	if err := keeper.New(w.options()).Run(t.Context()); !errors.Is(err, keeper.ErrRunning) {
		t.Errorf("a second keeper: %v", err)
	}
}

// A hook that finds the record locked by another hook tells the keeper, and records
// its request as soon as it can: it must not be lost when the keeper is killed.
func TestRecordInOthersHands(t *testing.T) {
	withAndWithout(t, func(t *testing.T, w *world) {
		unlock, err := rundir.At(w.dir).IntentLock().Acquire()
		if err != nil {
			t.Fatal(err)
		}
		free := time.AfterFunc(intent.RecordLimit+200*time.Millisecond, unlock)
		defer free.Stop()
		i := w.intent(intent.Backup)
		if a := w.say(i, 5*time.Second); a.Outcome != control.Reached || len(w.links()) != 0 {
			t.Errorf("%+v, left: %v", a, w.links())
		}
		store, err := intent.OpenStore(rundir.At(w.dir))
		if err != nil {
			t.Fatal(err)
		}
		if is, err := store.Load(); err != nil || !is.Holds(i) {
			t.Errorf("on record: %+v, %v", is, err)
		}
	})
}

// Commands by hand count from when they run, although the shell executes the last
// one in its own, older process.
func TestCommandsOfOneShell(t *testing.T) {
	r := newRig(t, false)
	wanfail := fmt.Sprintf("%s --config %s --run-dir %s ", r.binary, r.conf(), r.dir)
	r.startKeeper()
	for _, last := range []string{"backup", "primary"} {
		first := "primary"
		if last == first {
			first = "backup"
		}
		out, err := exec.Command("sh", "-c", wanfail+first+"; exec "+wanfail+last).CombinedOutput()
		if err != nil || strings.Contains(string(out), "superseded") {
			t.Errorf("%s, then %s: %v\n%s", first, last, err, out)
		}
		if rep := r.report(); rep == nil || rep.Role.String() != last {
			t.Errorf("%s, then %s: %+v", first, last, rep)
		}
	}
}

// A route that the kernel does not take costs that route, not the WAN.
func TestUnusableRoute(t *testing.T) {
	w := newWorld(t, "--dhcp-option=121,10.9.0.0/16,192.168.77.255,0.0.0.0/0,100.64.10.1")
	withLAN(t, true) // the gateway is the broadcast address there
	w.keeper()
	w.become(intent.Primary)
	if _, _, ok := w.holds(); !ok {
		t.Error("no default route")
	}
	r := w.status()
	told := slices.ContainsFunc(r.Warnings, func(s string) bool {
		return strings.HasPrefix(s, wanName+": the lease's route 10.9.0.0/16 via 192.168.77.255 cannot be used:")
	})
	if !told || r.WANs[0].Error != "" || r.WANs[0].State != "bound" {
		t.Errorf("status: %+v, warnings %q", r.WANs[0], r.Warnings)
	}
}
