package keeper

import (
	"slices"
	"testing"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

func TestLatestWins(t *testing.T) {
	l := newLatest[int]()
	for i := range 100 {
		l.put(i)
	}
	if got := <-l.c; got != 99 {
		t.Errorf("got %d", got)
	}
	select {
	case got := <-l.c:
		t.Errorf("and then %d", got)
	default:
	}
}

// A WAN that is busy finds the newest order and one event of the kernel, however
// many came, which is after the order: what is seen is judged by it.
func TestWaitingEventsAreMerged(t *testing.T) {
	q := newQueue(mergeEvents)
	order := func(epoch int, role intent.Role) wan.Ordered {
		return wan.Ordered{Order: wan.Order{Epoch: epoch, Role: role}}
	}
	for epoch := range 10 {
		q.put(order(epoch, intent.Primary))
		q.put(wan.KernelChanged{CarrierLost: epoch == 3})
	}
	q.put(wan.GateOpened{Epoch: 9})
	q.put(order(10, intent.Backup))
	<-q.wake
	want := []wan.Event{order(10, intent.Backup), wan.KernelChanged{CarrierLost: true}, wan.GateOpened{Epoch: 9}}
	if got := q.take(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := q.take(); len(got) != 0 {
		t.Errorf("and then %+v", got)
	}
}

// Jobs of a role that is over are not begun.
func TestWaitingJobsAreMerged(t *testing.T) {
	q := newQueue(mergeJobs)
	jobs := []router.Replicate{
		{Job: router.Commit, Epoch: 2},
		{Job: router.Yield, Epoch: 3},
		{Job: router.Commit, Epoch: 4},
		{Job: router.Resume, Epoch: 4},
	}
	for _, j := range jobs {
		q.put(j)
	}
	if got := q.take(); !slices.Equal(got, jobs[2:]) {
		t.Errorf("got %+v", got)
	}
}
