package keeper_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
)

// lateMute is a kernel that mutes when it is told to.
type lateMute struct {
	*netif.Manager
	asked, proceed chan struct{}
}

func (l lateMute) Mute(ctx context.Context, link netif.Link) error {
	close(l.asked)
	<-l.proceed
	return l.Manager.Mute(ctx, link)
}

// A hook reads the record and mutes the WAN so late that the router has become
// primary by a newer request meanwhile: that does not last.
func TestLateSilence(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	older := w.intent(intent.Backup)
	if a := w.say(older, 10*time.Second); a.Outcome != control.Reached {
		t.Fatalf("%+v", a)
	}
	o := w.options()
	late := lateMute{w.network, make(chan struct{}), make(chan struct{})}
	o.Network = late
	done := make(chan error, 1)
	go func() { done <- keeper.Silence(t.Context(), o, older) }()
	<-late.asked
	w.become(intent.Primary)
	close(late.proceed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.eventually("unmuted", 5*time.Second, func() bool {
		seen, err := w.network.Observe(t.Context(), w.link())
		_, _, up := w.holds()
		return err == nil && seen.Exists && !seen.Muted && up
	})
}

// A hook has recorded a backup and muted the WAN before the keeper has noticed
// either: the keeper sees the mute, and reads the record before it would undo it.
func TestMutedBeforeTheKeeperKnowsWhy(t *testing.T) {
	w := newWorld(t)
	w.keeper()
	w.become(intent.Primary)
	// What a hook would write, in a way of which the keeper is not told.
	elsewhere := rundir.At(t.TempDir())
	store, err := intent.OpenStore(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(w.intent(intent.Backup), intent.RecordLimit); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(elsewhere.Intents().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, rundir.IntentFile), raw, 0o644); err != nil { // inotify: IN_MODIFY
		t.Fatal(err)
	}
	if err := w.network.Mute(t.Context(), w.link()); err != nil {
		t.Fatal(err)
	}
	w.eventually("backup", 5*time.Second, func() bool {
		seen, err := w.network.Observe(t.Context(), w.link())
		if err != nil {
			t.Fatal(err)
		}
		if seen.Exists && !seen.Muted {
			t.Fatal("the keeper has unmuted the WAN of a backup")
		}
		return w.status().Role == intent.Backup && !seen.Exists
	})
}
