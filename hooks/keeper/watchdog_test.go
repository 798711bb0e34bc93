package keeper_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/netif"
)

// stuckKernel is one in which a look does not return for as long as it is stuck.
type stuckKernel struct {
	*netif.Manager
	stuck atomic.Pointer[chan struct{}]
}

func (s *stuckKernel) Glance(ctx context.Context, l netif.Link) (netif.Observed, error) {
	if c := s.stuck.Load(); c != nil {
		<-*c
	}
	return s.Manager.Glance(ctx, l)
}

// The supervisor hears that the keeper lives, from a round through all of it: when
// one WAN hangs, it hears nothing.
func TestWatchdog(t *testing.T) {
	w := newWorld(t)
	kernel := &stuckKernel{Manager: w.network}
	alive := make(chan struct{}, 1)
	w.keeper(func(o *keeper.Options) {
		o.Network = kernel
		o.AliveEvery = 10 * time.Millisecond
		o.Alive = func() {
			select {
			case alive <- struct{}{}:
			default:
			}
		}
	})
	w.become(intent.Primary)
	hears := func() {
		t.Helper()
		for range 3 {
			select {
			case <-alive:
			case <-time.After(10 * time.Second):
				t.Fatal("no sign of life")
			}
		}
	}
	hears()
	release := make(chan struct{})
	kernel.stuck.Store(&release)
	if err := netlink.LinkSetDown(w.links()[0]); err != nil { // an event, which makes the keeper look
		t.Fatal(err)
	}
	w.eventually("no sign of life", 10*time.Second, func() bool {
		for len(alive) > 0 {
			<-alive
		}
		time.Sleep(200 * time.Millisecond)
		return len(alive) == 0
	})
	kernel.stuck.Store(nil)
	close(release)
	hears()
}
