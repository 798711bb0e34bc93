package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/view"
)

// notify is keepalived's `notify`: it appends INSTANCE|GROUP NAME STATE PRIORITY.
func notify(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) < 3 || len(args) > 4 || (args[0] != "INSTANCE" && args[0] != "GROUP") {
		usage(c)
		return &usageError{fmt.Sprintf("want INSTANCE|GROUP NAME STATE [PRIORITY], got %q", args)}
	}
	if err := hooks.ValidScope(args[1]); err != nil {
		return &usageError{err.Error()}
	}
	return say(c, hooks.OpSettle, args[1], args[2])
}

// fifo is keepalived's vrrp_notify_fifo_script. Each line is a hook of its own,
// ordered by a token: a newer one need not wait for the older.
func fifo(c *cli.Context) error {
	if c.NArg() != 1 {
		return &usageError{fmt.Sprintf("fifo takes the path of the FIFO, got %q", c.Args().Slice())}
	}
	log := logger(c)
	hooks.RaisePriority()
	h, owner := hook(c, log), hooks.Keepalived()
	self, err := hooks.Self()
	if err != nil {
		return err
	}
	if err := takeOver(c, owner, self); err != nil {
		log.Error("cannot take over from an earlier reader of the FIFO", "error", err)
	}
	var seq uint64
	var lines sync.WaitGroup
	ctx := context.WithoutCancel(c.Context) // the last states come after SIGTERM
	take := func(n hooks.Notice) {
		change := hooks.ParseState(n.State)
		if change == hooks.UnknownState {
			log.Error("unknown state transition", "state", n.State, "name", n.Scope)
		}
		i := hooks.Intent{Scope: n.Scope, State: n.State, Owner: owner, Channel: self, At: time.Now()}
		switch change {
		case hooks.ToAnnounce:
			lines.Go(func() { announceAgain(ctx, h, i, log) })
			return
		case hooks.ToPrimary, hooks.ToBackup:
		default:
			return
		}
		seq++
		if change == hooks.ToPrimary {
			i.Role = hooks.Primary
		}
		var err error
		if i.Token, err = hooks.NowToken(seq); err != nil {
			log.Error("cannot order a notification", "error", err)
			return
		}
		lines.Go(func() {
			if _, err := h.Say(ctx, hooks.OpSettle, i, fifoWait); err != nil {
				log.Error("cannot become "+i.Role.String(), "error", err)
			}
		})
	}
	err = hooks.ReadFIFO(c.Context, c.Args().First(), take, func(err error) {
		log.Warn("line in the FIFO is not keepalived's", "error", err)
	})
	lines.Wait()
	return err
}

func takeOver(c *cli.Context, keepalived, reader hooks.Process) error {
	store, err := hooks.OpenStore(runDir(c))
	if err != nil {
		return err
	}
	return store.TakeOver(keepalived, reader)
}

// fifoWait is how long a line's hook waits for the keeper, which logs the outcome.
const fifoWait = time.Second

// announceAgain is for a master that received an advert of a lower priority.
func announceAgain(ctx context.Context, h hooks.Hook, i hooks.Intent, log *slog.Logger) {
	if err := h.Announce(ctx, i); err != nil {
		log.Error("cannot have the address announced again", "error", err)
	}
}

// say sends the role request of a state to the keeper.
func say(c *cli.Context, op, scope, state string) error {
	log := logger(c)
	i := hooks.Intent{Scope: scope, State: state, Owner: hooks.Keepalived(), At: time.Now()}
	switch hooks.ParseState(state) {
	case hooks.ToPrimary:
		i.Role = hooks.Primary
	case hooks.ToBackup:
		i.Role = hooks.Backup
	case hooks.ToAnnounce:
		announceAgain(c.Context, hook(c, log), i, log)
		return nil
	case hooks.NoChange:
		return nil
	default:
		if op != hooks.OpRelease {
			usage(c)
			log.Error("unknown state transition", "state", state)
			return &usageError{fmt.Sprintf("unknown state %q", state)}
		}
	}
	if i.Role == hooks.Backup && i.Owner != (hooks.Process{}) {
		hooks.RaisePriority() // to stop transmission before the peer is unmuted
	}
	if i.Role == hooks.Primary && hooks.Orphaned() {
		return errors.New("the keepalived that asked has exited")
	}
	against := disputes(c, i)
	if i.Role == hooks.Primary && len(against) > 0 && c.Command.Name == "primary" && !c.Bool("force") {
		return &usageError{refusal(against[0])}
	}
	var err error
	if i.Token, err = hooks.ProcessToken(); err != nil {
		return err
	}
	a, err := hook(c, log).Say(c.Context, op, i, c.Duration("wait"))
	if err != nil {
		log.Error("cannot become "+i.Role.String(), "error", err)
		return err
	}
	report(c, log, a)
	for _, d := range against {
		log.Warn(d.Text())
		fmt.Fprintln(c.App.ErrWriter, "wanfail: warning:", d.Text()+advice(d))
	}
	if a.Outcome == hooks.Degraded {
		return exitError(exitDegraded)
	}
	return nil
}

// report prints what was done if a person reads it, and logs what the keeper did
// not log.
func report(c *cli.Context, log *slog.Logger, a hooks.Answer) {
	if !journal.Discarded(os.Stdout) {
		view.Answer(c.App.Writer, a)
	}
	switch a.Outcome {
	case hooks.Superseded:
		log.Debug("superseded", "by", a.By, "role", a.Role)
	case hooks.Degraded:
		log.Warn("is "+a.Role.String()+", degraded", "problems", strings.Join(a.Problems, "; "))
	}
}
