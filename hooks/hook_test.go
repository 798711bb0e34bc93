package hooks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/rundir"
)

// lonely is a hook on a router where no keeper runs and none can be started. It
// records what it does instead of one.
type lonely struct {
	Hook
	t        *testing.T
	dir      rundir.Dir
	silenced []Intent
	alone    []Intent
	finish   bool
}

var errNoKeeperToStart = errors.New("no configuration, no keeper")

func newLonely(t *testing.T) *lonely {
	l := &lonely{t: t, dir: rundir.At(t.TempDir())}
	l.Hook = Hook{
		Starter: Starter{RunDir: l.dir},
		Check:   func() error { return errNoKeeperToStart },
		Silence: func(_ context.Context, i Intent) error { l.silenced = append(l.silenced, i); return nil },
		Alone: func(_ context.Context, i Intent, finish bool) Answer {
			l.alone, l.finish = append(l.alone, i), finish
			return Answer{Outcome: Reached, Role: Backup}
		},
	}
	return l
}

// recorded is what the record says.
func (l *lonely) recorded() Intents {
	l.t.Helper()
	is, _, err := ReadIntents(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	return is
}

func (l *lonely) record(i Intent) {
	l.t.Helper()
	store, err := OpenStore(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	if newer, err := store.Record(i, RecordLimit); newer != nil || err != nil {
		l.t.Fatal(newer, err)
	}
}

// When keepalived exits its hooks get SIGTERM: a request for primary that is
// cancelled by then must not be on record, where nothing would revoke it.
func TestCalledOffPrimaryIsNotRecorded(t *testing.T) {
	for _, when := range []string{"before the call", "while the configuration is checked"} {
		t.Run(when, func(t *testing.T) {
			l := newLonely(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l.Check = func() error { cancel(); return nil }
			if when == "before the call" {
				cancel()
			}
			_, err := l.Say(ctx, OpSettle, Intent{Role: Primary, Token: token(1), State: "MASTER"}, time.Second)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the call ends with %v", err)
			}
			if is := l.recorded(); len(is) != 0 {
				t.Errorf("on record is %+v", is)
			}
		})
	}
}

// A request for backup is recorded and executed however late it is cancelled.
func TestCalledOffBackupIsObeyed(t *testing.T) {
	l := newLonely(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.record(Intent{Role: Primary, Token: token(1), State: "MASTER"})
	_, _ = l.Say(ctx, OpSettle, Intent{Role: Backup, Token: token(2), State: "STOP"}, time.Second)
	if is := l.recorded(); len(is) != 1 || is[0].Role != Backup {
		t.Errorf("on record is %+v", is)
	}
	if len(l.alone) != 1 || l.alone[0].Role != Backup {
		t.Errorf("alone: %+v", l.alone)
	}
}

// A hook that finds a newer backup on record mutes the WANs: the hook of that
// request may have been killed, and no keeper runs.
func TestNewerBackupIsExecuted(t *testing.T) {
	l := newLonely(t)
	newer := Intent{Role: Backup, Token: token(2), State: "STOP"}
	l.record(newer)
	a, err := l.Say(t.Context(), OpSettle, Intent{Role: Backup, Token: token(1), State: "BACKUP"}, time.Second)
	if err != nil || a.Outcome != Superseded || a.Role != Backup {
		t.Errorf("%+v, %v", a, err)
	}
	if len(l.silenced) != 1 || l.silenced[0].Token != newer.Token {
		t.Errorf("silenced: %+v", l.silenced)
	}
	if len(l.alone) != 0 {
		t.Errorf("alone: %+v", l.alone)
	}
	// For a newer primary nothing is muted.
	l = newLonely(t)
	l.record(Intent{Role: Primary, Token: token(2), State: "MASTER"})
	if _, err := l.Say(t.Context(), OpSettle, Intent{Role: Backup, Token: token(1), State: "BACKUP"}, time.Second); err != nil {
		t.Error(err)
	}
	if len(l.silenced) != 0 {
		t.Errorf("silenced for a newer primary: %+v", l.silenced)
	}
}

// A backup that cannot be written takes the primary off the record; a primary that
// cannot be written leaves the backup there.
func TestUnwritableRecord(t *testing.T) {
	for role, want := range map[Role]int{Backup: 0, Primary: 1} {
		l := newLonely(t)
		l.record(Intent{Role: Primary - role, Token: token(1), State: "X"})
		// Its unfinished file is a directory that holds something.
		if err := os.MkdirAll(filepath.Join(l.dir.String(), rundir.IntentFile+".new", "full"), 0o755); err != nil {
			t.Fatal(err)
		}
		store, err := OpenStore(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Record(Intent{Role: role, Token: token(2), State: "Y"}, RecordLimit); err == nil {
			t.Fatalf("%s: it could be written", role)
		}
		if is := l.recorded(); len(is) != want {
			t.Errorf("%s could not be written; on record is %+v", role, is)
		}
	}
}
