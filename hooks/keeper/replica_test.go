package keeper_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/services/conntrackd"
)

// Which option and which conntrackd.conf make a replication, and which report
// that they cannot.
func TestReplication(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(dir, "none")
	stats := file("stats.conf", "General { UNIX { Path /run/ctl } }\nStats { LogFile on }\n")
	noSocket := file("nosocket.conf", "Sync { Mode FTFW { } }\n")
	good := file("good.conf", "Sync { Mode FTFW { } }\nGeneral { HashSize 32768 UNIX { Path "+filepath.Join(dir, "ctl")+" } }\n")
	const (
		off   = iota // none
		fails        // reported at each change of role
		down         // would work if conntrackd ran
	)
	for _, c := range []struct {
		name   string
		option config.Switch
		file   string
		want   int
	}{
		{"off", config.Off, good, off},
		{"auto, not installed", config.Auto, missing, off},
		{"auto, Debian's default", config.Auto, stats, off},
		{"auto, without a socket", config.Auto, noSocket, fails},
		{"auto", config.Auto, good, down},
		{"on, not installed", config.On, missing, fails},
		{"on, Debian's default", config.On, stats, fails},
		{"on", config.On, good, down},
	} {
		r := keeper.Replication(c.option, c.file, slog.New(slog.DiscardHandler))
		if r == nil {
			if c.want != off {
				t.Errorf("%s: no replication", c.name)
			}
			continue
		}
		_, daemon := r.(*conntrackd.Daemon)
		if c.want == off || daemon != (c.want == down) {
			t.Errorf("%s: %T", c.name, r)
		}
		if err := errors.Join(r.Commit(t.Context()), r.Resume(t.Context()), r.Yield(t.Context())); err == nil {
			t.Errorf("%s: nothing is reported", c.name)
		}
	}
}
