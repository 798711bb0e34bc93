package keeper_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// fakeReplica is a slow conntrackd.
type fakeReplica struct {
	commit chan struct{} // a commit ends when something is received; nil: at once
	deaf   bool          // it does not even end when it is told to
	calls  atomic.Int64
	yields atomic.Int64
}

func (f *fakeReplica) Commit(ctx context.Context) error {
	f.calls.Add(1)
	if f.commit == nil {
		return nil
	}
	if f.deaf {
		<-f.commit
		return nil
	}
	select {
	case <-f.commit:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (f *fakeReplica) Resume(context.Context) error { return nil }
func (f *fakeReplica) Yield(context.Context) error  { f.yields.Add(1); return nil }

func (w *world) muted() bool {
	o, err := w.network.Observe(w.t.Context(), w.link())
	return err == nil && o.Muted
}

// A router that is told backup and primary again while its link still lingers
// keeps the link and the address: with the address the kernel would drop the
// connections that it masqueraded.
func TestPrimaryAgainWhileLingering(t *testing.T) {
	w := newWorld(t)
	rep := &fakeReplica{}
	w.keeper(func(o *keeper.Options) { o.Replica = rep })
	w.become(intent.Primary)
	link, addr, _ := w.holds()
	changes := w.monitor()
	for range 3 {
		w.become(intent.Backup)
		if !w.muted() {
			t.Fatal("a backup of a moment ago is not mute")
		}
		w.become(intent.Primary)
		now, nowAddr, ok := w.holds()
		if !ok || nowAddr != addr || now.Attrs().Index != link.Attrs().Index || w.muted() {
			t.Fatalf("it is %v with %s, mute %v; it was %v with %s", now, nowAddr, w.muted(), link, addr)
		}
	}
	for _, c := range changes() {
		if strings.Contains(c, "new=false") {
			t.Errorf("the address was taken away meanwhile: %s", c)
		}
	}
	w.become(intent.Backup)
	if !w.muted() {
		t.Error("not mute")
	}
	w.eventually("deleted after its time", 10*time.Second, func() bool { return len(w.links()) == 0 })
}

// A mute link is unmuted no earlier than the replicated connections are there, or
// CommitLimit has passed.
func TestMuteUntilCommitted(t *testing.T) {
	w := newWorld(t)
	rep := &fakeReplica{}
	w.keeper(func(o *keeper.Options) { o.Replica = rep })
	w.become(intent.Primary)
	w.become(intent.Backup)
	rep.commit = make(chan struct{})
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.become(intent.Primary)
	}()
	w.eventually("commit asked for", 5*time.Second, func() bool { return rep.calls.Load() == 2 })
	if !w.muted() {
		t.Error("it is unmuted before the commit is done")
	}
	<-done
	if took := time.Since(start); took < 150*time.Millisecond || took > 3*time.Second+time.Second*slow { // commitLimit
		t.Errorf("a replication that hangs cost %v", took)
	}
}

// A link is muted in two ways. If one is undone while it lingers, as by a shaper's
// script, it is muted again at once, and nothing is sent meanwhile.
func TestUnmutedWhileLingering(t *testing.T) {
	w := newWorld(t)
	w.keeper(func(o *keeper.Options) { o.Replica = &fakeReplica{} })
	w.become(intent.Primary)
	w.become(intent.Backup)
	l := w.links()[0]
	loose := func() bool {
		o, err := w.network.Observe(t.Context(), w.link())
		if err != nil || !o.Muted {
			t.Fatalf("not mute: %+v, %v", o, err)
		}
		return o.Loose
	}
	root := &netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT}, QdiscType: "blackhole"}
	sent := w.capture()
	stop := w.send()
	for range 10 {
		if err := netlink.QdiscDel(root); err != nil {
			t.Fatal(err)
		}
		w.eventually("the discipline is back", 500*time.Millisecond*slow, func() bool { return !loose() })
	}
	stop()
	if len(w.links()) == 0 {
		t.Error("the link is gone: it was to linger")
	}
	if n := sent.from(mac); n > 0 {
		t.Errorf("%d frames with the shared MAC were sent", n)
	}
}

// A replication that hangs for good holds up neither roles nor answers.
func TestReplicationHangs(t *testing.T) {
	w := newWorld(t)
	rep := &fakeReplica{commit: make(chan struct{}), deaf: true}
	stop := w.keeper(func(o *keeper.Options) { o.Replica = rep })
	for i := range 150 {
		w.say(w.intent(intent.Role(1-i%2)), 0)
	}
	w.become(intent.Backup)
	w.become(intent.Primary)
	if r := w.status(); r.Role != intent.Primary {
		t.Errorf("status %+v", r)
	}
	close(rep.commit)
	stop()
}

// A keeper that comes back to a router that is to be backup now, while it was
// primary, prepares the peer's takeover; one that only returns does not.
func TestYieldAfterRestart(t *testing.T) {
	w := newWorld(t)
	stop := w.keeper()
	w.become(intent.Primary)
	stop()
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(w.intent(intent.Backup), intent.RecordLimit); err != nil {
		t.Fatal(err)
	}
	rep := &fakeReplica{}
	stop = w.keeper(func(o *keeper.Options) { o.Replica = rep })
	w.eventually("yielded", 5*time.Second, func() bool { return rep.yields.Load() == 1 })
	w.eventually("deleted", 5*time.Second, func() bool { return len(w.links()) == 0 })
	stop()
	again := &fakeReplica{}
	w.keeper(func(o *keeper.Options) { o.Replica = again })
	w.become(intent.Backup)
	if n := again.yields.Load(); n != 0 {
		t.Errorf("a returning backup touched the replication %d times", n)
	}
}
