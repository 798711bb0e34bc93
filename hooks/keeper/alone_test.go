package keeper_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
)

// stubborn services take their time to stop, and say when they are asked.
type stubborn struct {
	*fakeServices
	asked chan struct{}
	ended chan error
}

func (s *stubborn) Stop(ctx context.Context, name string) error {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	select {
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
		s.ended <- ctx.Err()
		return ctx.Err()
	}
	return s.fakeServices.Stop(ctx, name)
}

// A keeper that starts while a hook stops services takes over at once: it becomes
// ready, and the hook leaves the rest to it.
func TestKeeperStartsWhileAHookStopsServices(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	stop()
	s := &stubborn{fakeServices: w.services, asked: make(chan struct{}, 1), ended: make(chan error, 2)}
	o := w.options()
	o.Services = s
	i := w.intent(intent.Backup)
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(i, intent.RecordLimit); err != nil {
		t.Fatal(err)
	}
	answered := make(chan control.Answer, 1)
	go func() { answered <- keeper.Alone(context.Background(), o, i, true) }()
	<-s.asked
	if len(w.links()) != 0 {
		t.Errorf("services are stopped before the link is gone: %v", w.links())
	}
	start := time.Now()
	w.keeper()
	if took := time.Since(start); took > 2*time.Second*slow {
		t.Errorf("the keeper was ready after %v", took)
	}
	for range 2 {
		if err := <-s.ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if a := <-answered; a.Outcome != control.Reached {
		t.Errorf("%+v", a)
	}
	w.eventually("the keeper stops them", 5*time.Second, func() bool { return w.services.pid("dnsmasq") == 0 })
}

// A keeper waits for a lock that something holds which is no keeper: to end
// without an error would say that there is one.
func TestKeeperWaitsForItsLock(t *testing.T) {
	w := newLine(t)
	unlock, err := rundir.At(w.dir).KeeperLock().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := keeper.New(w.options()).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	free := time.AfterFunc(200*time.Millisecond, unlock)
	defer free.Stop()
	w.keeper()
}

// alone is a primary whose keeper has ended, with a replication.
func alone(t *testing.T) (w *world, o keeper.Options) {
	t.Helper()
	w = newWorld(t)
	rep := &fakeReplica{}
	stop := w.keeper(func(o *keeper.Options) { o.Replica = rep })
	w.become(intent.Primary)
	stop()
	o = w.options()
	o.Replica = rep
	return w, o
}

// A link lingers, mute, with a keeper and without: the peer must have committed
// the connections before it goes. Only a hook that may wait deletes it.
func TestAloneLingers(t *testing.T) {
	w, o := alone(t)
	if a := keeper.Alone(t.Context(), o, w.intent(intent.Backup), false); a.Outcome != control.Reached {
		t.Errorf("%+v", a)
	}
	if !w.muted() || w.services.pid("dnsmasq") != 0 {
		t.Errorf("mute %v, left %v", w.muted(), w.links())
	}
	if _, addr, _ := w.holds(); addr == "" {
		t.Error("the address was removed at once")
	}
	start := time.Now()
	if a := keeper.Alone(t.Context(), o, w.intent(intent.Backup), true); a.Outcome != control.Reached {
		t.Errorf("%+v", a)
	}
	if took := time.Since(start); len(w.links()) != 0 || took < 1900*time.Millisecond {
		t.Errorf("after %v, left %v", took, w.links())
	}
}

// Nothing is deleted beside a keeper that is just starting: its lock is waited for.
// To mute the link waits for nothing.
func TestAloneTakesTheLock(t *testing.T) {
	w, o := alone(t)
	o.Replica = nil
	unlock, err := rundir.At(w.dir).KeeperLock().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan control.Answer, 1)
	i := w.intent(intent.Backup)
	go func() { answered <- keeper.Alone(context.Background(), o, i, true) }()
	w.eventually("mute", time.Second*slow, w.muted)
	time.Sleep(200 * time.Millisecond) // for what must not happen
	if len(w.links()) == 0 {
		t.Error("deleted without the lock")
	}
	unlock()
	if a := <-answered; a.Outcome != control.Reached || len(w.links()) != 0 {
		t.Errorf("%+v, left %v", a, w.links())
	}
}

// A WAN of another instance that is primary keeps its link and the services, and
// what belongs to no WAN any more goes.
func TestAloneLeavesTheOtherWAN(t *testing.T) {
	w, o := alone(t)
	o.Replica = nil
	o.Config.WANs[0].Instance = "VI_1"
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"VI_1", "VI_2"} {
		i := w.intent(intent.Primary)
		i.Scope = scope
		if _, err := store.Record(i, intent.RecordLimit); err != nil {
			t.Fatal(err)
		}
	}
	orphan := w.link()
	orphan.Name, orphan.MAC = "old", net.HardwareAddr{2, 0x68, 0x71, 0x2e, 0x62, 0x69}
	if _, err := w.network.Apply(t.Context(), netif.Desired{Link: orphan}); err != nil {
		t.Fatal(err)
	}
	i := w.intent(intent.Backup)
	i.Scope = "VI_2"
	if a := keeper.Alone(t.Context(), o, i, true); a.Outcome != control.Reached {
		t.Errorf("%+v", a)
	}
	if links := w.links(); len(links) != 1 || links[0].Attrs().Name != wanName || w.muted() {
		t.Errorf("left %v, mute %v", links, w.muted())
	}
	if w.services.pid("dnsmasq") == 0 {
		t.Error("services were stopped, and a WAN is primary")
	}
}
