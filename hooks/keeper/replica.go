package keeper

import (
	"context"
	"errors"
	"log/slog"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/services/conntrackd"
)

// Replication chooses what carries connections to the peer, by `option
// conntrackd`: nothing (0, or auto without a conntrackd that replicates), else
// the conntrackd whose configuration is file. Whether it runs is found out at
// each change of role, so that one that is down is reported then. One that is
// demanded and missing is reported like one that is down.
func Replication(wanted config.Switch, file string, log *slog.Logger) replica {
	if wanted == config.Off {
		return nil
	}
	d, err := conntrackd.Open(file, log)
	switch {
	case err == nil:
		return d
	case wanted == config.Auto && errors.Is(err, conntrackd.ErrNone):
		log.Debug("connections are not replicated", "reason", err)
		return nil
	}
	log.Error("connections will not be replicated", "error", err)
	return broken{err}
}

// broken is a replication that cannot work.
type broken struct{ err error }

func (b broken) Commit(context.Context) error { return b.err }
func (b broken) Resume(context.Context) error { return b.err }
func (b broken) Yield(context.Context) error  { return b.err }

// Watch reports once what is wrong: nothing changes that before a restart.
func (b broken) Watch(_ context.Context, tell func(problem error)) { tell(b.err) }
