package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
)

// The lease is given back whatever the record tells the keeper meanwhile, and
// nothing but `release` gives it back.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	packets := w.capture()
	for range 3 {
		w.become(intent.Primary)
		i := w.intent(intent.Backup)
		a, err := w.hook().Say(t.Context(), control.OpRelease, i, 5*time.Second)
		if err != nil || a.Outcome != control.Reached || !slices.ContainsFunc(a.Phases, func(p control.Phase) bool { return p.Name == "release" && p.Error == "" }) {
			t.Fatalf("%+v, %v", a, err)
		}
		if _, err := w.hook().Say(t.Context(), control.OpRelease, w.intent(intent.Backup), time.Second); err == nil {
			t.Error("a backup gave back a lease that is the peer's by now")
		}
		w.eventually("on record", 5*time.Second, func() bool { return w.recorded().Token == i.Token })
	}
	w.become(intent.Primary)
	w.become(intent.Backup)
	stop()
	if n := packets.dhcp(dhcpRelease); n != 3 {
		t.Errorf("%d DHCPRELEASE were sent, want 3", n)
	}
	if _, err := w.hook().Say(t.Context(), control.OpRelease, w.intent(intent.Backup), time.Second); !errors.Is(err, control.ErrNoKeeper) {
		t.Errorf("release without a keeper: %v", err)
	}
}

func (w *world) recorded() intent.Intent {
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		w.t.Fatal(err)
	}
	is, err := store.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	i, _ := is.For("")
	return i
}

// What is on record at boot counts only if it is of this boot, and what an
// earlier keeper left behind is removed.
func TestBootIsBackup(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	stop()
	path := filepath.Join(w.dir, rundir.IntentFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := rundir.At(w.dir).Boot()
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(raw, []byte(boot), []byte("01234567-89ab-cdef-0123-456789abcdef"), 1)
	if bytes.Equal(raw, other) {
		t.Fatal("the record does not name the boot")
	}
	if err := os.WriteFile(path, other, 0o644); err != nil {
		t.Fatal(err)
	}
	w.keeper()
	w.eventually("purged", 5*time.Second, func() bool { return len(w.links()) == 0 && w.services.pid("dnsmasq") == 0 })
	if r := w.status(); r.Role != intent.Backup || !strings.HasPrefix(r.By, "default after boot") {
		t.Errorf("status %+v", r)
	}
}

// Without its run directory no hook can connect to a keeper, and it ends.
func TestRunDirectoryGoes(t *testing.T) {
	w := newLine(t)
	o := w.options()
	o.RunDir = rundir.At(filepath.Join(w.dir, "run"))
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	done := make(chan error, 1)
	go func() { done <- keeper.New(o).Run(t.Context()) }()
	<-ready
	if err := os.RemoveAll(o.RunDir.String()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, keeper.ErrUnreachable) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

// endingNetwork is a network whose events end.
type endingNetwork struct {
	*netif.Manager
	end chan struct{}
}

func (n endingNetwork) Watch(ctx context.Context) (<-chan netif.Event, error) {
	events := make(chan netif.Event)
	go func() {
		select {
		case <-n.end:
		case <-ctx.Done():
		}
		close(events)
	}()
	return events, nil
}

// A keeper that gets no events of the kernel any more ends with an error, so that
// another one is started.
func TestEndsWhenAPartEnds(t *testing.T) {
	w := newLine(t)
	o := w.options()
	end := make(chan struct{})
	o.Network = endingNetwork{w.network, end}
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	done := make(chan error, 1)
	go func() { done <- keeper.New(o).Run(t.Context()) }()
	<-ready
	close(end)
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "the watch of the kernel ended") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

// Two instances with a WAN each: the name says which one is meant, no name means
// both, and what keepalived says twice, for the group and for the instance, is
// done once. WANs that follow each other are one transition.
func TestInstances(t *testing.T) {
	w := newWorld(t)
	w.isp.Veth(t, "eth3", "isp1")
	both := func(o *keeper.Options) {
		o.Config.WANs[0].Instance = "VI_1"
		mac := net.HardwareAddr{2, 0x68, 0x71, 0x2e, 0x62, 0x68}
		o.Config.WANs = append(o.Config.WANs, config.WAN{
			Name: "wan2", Parent: "eth3", MAC: mac, Instance: "VI_2", DefaultRoute: true,
			DHCP: dhcp.Config{Interface: "wan2", MAC: mac},
		})
	}
	w.keeper(both)
	scoped := func(role intent.Role, scope string) control.Answer {
		i := w.intent(role)
		i.Scope = scope
		return w.say(i, 300*time.Millisecond)
	}
	exist := func() (names []string) {
		for _, l := range w.links() {
			names = append(names, l.Attrs().Name)
		}
		slices.Sort(names)
		return names
	}
	scoped(intent.Primary, "VI_1")
	if got := exist(); !slices.Equal(got, []string{"wan"}) {
		t.Errorf("after VI_1: %v", got)
	}
	if w.services.pid("dnsmasq") == 0 {
		t.Error("one instance is master, and the services do not run")
	}
	scoped(intent.Primary, "VI_2")
	if got := exist(); !slices.Equal(got, []string{"wan", "wan2"}) {
		t.Errorf("after VI_2: %v", got)
	}
	pid := w.services.pid("dnsmasq")
	scoped(intent.Backup, "VI_1")
	if got := exist(); !slices.Equal(got, []string{"wan2"}) {
		t.Errorf("after VI_1 left: %v", got)
	}
	if w.services.pid("dnsmasq") != pid {
		t.Error("the services did not stay for the other instance")
	}
	scoped(intent.Primary, "other")
	if got := exist(); !slices.Equal(got, []string{"wan2"}) {
		t.Errorf("after an instance that drives nothing: %v", got)
	}
	scoped(intent.Backup, "")
	if got := exist(); len(got) != 0 || w.services.pid("dnsmasq") != 0 {
		t.Errorf("after a backup without a name: %v", got)
	}
	before := len(w.status().Transitions)
	// The first transition lasts until the second hook, however busy the computer is.
	w.services.mu.Lock()
	w.services.delay = time.Second
	w.services.mu.Unlock()
	var hooked sync.WaitGroup
	for _, scope := range []string{"VI_1", "VI_2"} {
		i := w.intent(intent.Primary)
		i.Scope = scope
		hooked.Go(func() { _, _ = w.hook().Say(t.Context(), control.OpSettle, i, 300*time.Millisecond) })
	}
	hooked.Wait()
	if got := exist(); !slices.Equal(got, []string{"wan", "wan2"}) {
		t.Errorf("after both: %v", got)
	}
	w.become2(t, before)
}

// become2 ends a transition of two WANs, one of which has no lease to get, and
// counts what is remembered: both were one, which was then given up.
func (w *world) become2(t *testing.T, before int) {
	t.Helper()
	w.say(w.intent(intent.Backup), 5*time.Second)
	if got := len(w.status().Transitions) - before; got != 2 {
		t.Errorf("two WANs up and down were %d transitions, want 2: %+v", got, w.status().Transitions)
	}
}

// GROUP and INSTANCE report the same change of a WAN that is bound to neither.
func TestGroupAndInstance(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	packets := w.capture()
	for _, scope := range []string{"VG", "VI_1"} {
		i := w.intent(intent.Primary)
		i.Scope = scope
		if a := w.say(i, 5*time.Second); a.Outcome != control.Reached {
			t.Fatalf("%+v", a)
		}
	}
	if n := len(w.status().Transitions); n != 2 { // boot, and this one
		t.Errorf("%d transitions", n)
	}
	if n := packets.dhcp(0); n != 2 {
		t.Errorf("%d DHCP packets, want DISCOVER and REQUEST", n)
	}
}

// A hundred times the same role: not one packet of DHCP. After a restart of the
// keeper it is the one of INIT-REBOOT.
func TestNoNeedlessPackets(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	packets := w.capture()
	for range 100 {
		w.become(intent.Primary)
	}
	if n := packets.dhcp(0); n != 0 {
		t.Errorf("100 repetitions sent %d DHCP packets", n)
	}
	stop()
	w.keeper()
	w.eventually("bound", 5*time.Second, func() bool { return w.status().WANs[0].State == "bound" })
	if n := packets.dhcp(0); n != 1 {
		t.Errorf("a restart sent %d DHCP packets, want 1", n)
	}
}

// Something keeps taking the address away: it is put back, less and less often,
// and for good when that ends.
func TestHealingDoesNotFight(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrDel(w.links()[0], a); err != nil {
		t.Fatal(err)
	}
	added := 0
	for end := time.After(3 * time.Second); end != nil; {
		select {
		case u := <-updates:
			if u.NewAddr && u.LinkAddress.String() == addr {
				added++
				_ = netlink.AddrDel(w.links()[0], a)
			}
		case <-end:
			end = nil
		}
	}
	close(done)
	for range updates { // closed by the subscription
	}
	// 0, 0.1, 0.3, 0.7, 1.5 s, and what a renewal of the lease adds.
	if added < 3 || added > 8 {
		t.Errorf("in 3 s the address was put back %d times", added)
	}
	w.eventually("healed", 15*time.Second, func() bool { _, now, ok := w.holds(); return ok && now == addr })
}

// fighting services restart as soon as they are stopped, and report that.
type fighting struct {
	*fakeServices
	changes chan string
	stops   atomic.Int64
	telling sync.Mutex
	mum     bool // changes is closed
}

func (f *fighting) Watch(_ context.Context, names []string) (<-chan string, error) {
	if !slices.Contains(names, "dnsmasq") {
		return nil, errors.New("who watches something else must not take these changes")
	}
	return f.changes, nil
}

func (f *fighting) Stop(ctx context.Context, name string) error {
	f.stops.Add(1)
	err := f.fakeServices.Stop(ctx, name)
	_ = f.Start(ctx, name)
	f.telling.Lock()
	defer f.telling.Unlock()
	if !f.mum {
		select {
		case f.changes <- name:
		default:
		}
	}
	return err
}

// A service that does not stay down is stopped again and again, but not without
// a pause; the same for a watch that ends.
func TestServiceRepairsArePaced(t *testing.T) {
	w := newLine(t)
	f := &fighting{fakeServices: w.services, changes: make(chan string, 8)}
	w.keeper(func(o *keeper.Options) { o.Services = f })
	if err := f.Start(t.Context(), "dnsmasq"); err != nil {
		t.Fatal(err)
	}
	f.changes <- "dnsmasq"
	time.Sleep(2 * time.Second)
	if n := f.stops.Load(); n < 3 || n > 12 {
		t.Errorf("in 2 s it was stopped %d times", n)
	}
	before := f.stops.Load()
	f.telling.Lock()
	f.mum = true
	close(f.changes)
	f.telling.Unlock()
	time.Sleep(500 * time.Millisecond)
	if n := f.stops.Load() - before; n > 3 {
		t.Errorf("a watch that ended had the services stopped %d times in half a second", n)
	}
}
