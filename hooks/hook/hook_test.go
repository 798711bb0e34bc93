package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// lonely is a hook on a router where no keeper runs and none can be started. It
// records what it does instead of one.
type lonely struct {
	Hook
	t        *testing.T
	dir      rundir.Dir
	silenced []intent.Intent
	alone    []intent.Intent
	finish   bool
}

var errNoKeeperToStart = errors.New("no configuration, no keeper")

func newLonely(t *testing.T) *lonely {
	l := &lonely{t: t, dir: rundir.At(t.TempDir())}
	l.Hook = Hook{
		Starter: Starter{RunDir: l.dir},
		Check:   func() error { return errNoKeeperToStart },
		Silence: func(_ context.Context, i intent.Intent) error { l.silenced = append(l.silenced, i); return nil },
		Alone: func(_ context.Context, i intent.Intent, finish bool) control.Answer {
			l.alone, l.finish = append(l.alone, i), finish
			return control.Answer{Outcome: control.Reached, Role: intent.Backup}
		},
	}
	return l
}

// recorded is what the record says.
func (l *lonely) recorded() intent.Intents {
	l.t.Helper()
	is, _, err := intent.ReadIntents(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	return is
}

func (l *lonely) record(i intent.Intent) {
	l.t.Helper()
	store, err := intent.OpenStore(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	if newer, err := store.Record(i, intent.RecordLimit); newer != nil || err != nil {
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
			_, err := l.Say(ctx, control.OpSettle, intent.Intent{Role: intent.Primary, Token: token(1), State: "MASTER"}, time.Second)
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
	l.record(intent.Intent{Role: intent.Primary, Token: token(1), State: "MASTER"})
	_, _ = l.Say(ctx, control.OpSettle, intent.Intent{Role: intent.Backup, Token: token(2), State: "STOP"}, time.Second)
	if is := l.recorded(); len(is) != 1 || is[0].Role != intent.Backup {
		t.Errorf("on record is %+v", is)
	}
	if len(l.alone) != 1 || l.alone[0].Role != intent.Backup {
		t.Errorf("alone: %+v", l.alone)
	}
}

// A hook that finds a newer backup on record mutes the WANs: the hook of that
// request may have been killed, and no keeper runs.
func TestNewerBackupIsExecuted(t *testing.T) {
	l := newLonely(t)
	newer := intent.Intent{Role: intent.Backup, Token: token(2), State: "STOP"}
	l.record(newer)
	a, err := l.Say(t.Context(), control.OpSettle, intent.Intent{Role: intent.Backup, Token: token(1), State: "BACKUP"}, time.Second)
	if err != nil || a.Outcome != control.Superseded || a.Role != intent.Backup {
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
	l.record(intent.Intent{Role: intent.Primary, Token: token(2), State: "MASTER"})
	if _, err := l.Say(t.Context(), control.OpSettle, intent.Intent{Role: intent.Backup, Token: token(1), State: "BACKUP"}, time.Second); err != nil {
		t.Error(err)
	}
	if len(l.silenced) != 0 {
		t.Errorf("silenced for a newer primary: %+v", l.silenced)
	}
}

// A backup that cannot be written takes the primary off the record; a primary that
// cannot be written leaves the backup there.
func TestUnwritableRecord(t *testing.T) {
	for role, want := range map[intent.Role]int{intent.Backup: 0, intent.Primary: 1} {
		l := newLonely(t)
		l.record(intent.Intent{Role: intent.Primary - role, Token: token(1), State: "X"})
		// Its unfinished file is a directory that holds something.
		if err := os.MkdirAll(filepath.Join(l.dir.String(), rundir.IntentFile+".new", "full"), 0o755); err != nil {
			t.Fatal(err)
		}
		store, err := intent.OpenStore(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Record(intent.Intent{Role: role, Token: token(2), State: "Y"}, intent.RecordLimit); err == nil {
			t.Fatalf("%s: it could be written", role)
		}
		if is := l.recorded(); len(is) != want {
			t.Errorf("%s could not be written; on record is %+v", role, is)
		}
	}
}

func token(n int) intent.Token { return intent.Token{Ticks: uint64(n), PID: 100} }
