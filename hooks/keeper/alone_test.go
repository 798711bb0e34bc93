package keeper_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
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
	w.become(hooks.Primary)
	stop()
	s := &stubborn{fakeServices: w.services, asked: make(chan struct{}, 1), ended: make(chan error, 2)}
	o := w.options()
	o.Services = s
	i := w.intent(hooks.Backup)
	store, err := hooks.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(i, hooks.RecordLimit); err != nil {
		t.Fatal(err)
	}
	answered := make(chan hooks.Answer, 1)
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
	if a := <-answered; a.Outcome != hooks.Reached {
		t.Errorf("%+v", a)
	}
	w.eventually("the keeper stops them", 5*time.Second, func() bool { return w.services.pid("dnsmasq") == 0 })
}

// A keeper waits for a lock that something holds which is no keeper: to end
// without an error would say that there is one.
func TestKeeperWaitsForItsLock(t *testing.T) {
	w := newLine(t)
	unlock, err := hooks.Lock(rundir.At(w.dir).KeeperLock())
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
