package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/hooks/view"
)

// notify is keepalived's `notify`: it appends INSTANCE|GROUP NAME STATE PRIORITY.
func notify(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) < 3 || len(args) > 4 || (args[0] != "INSTANCE" && args[0] != "GROUP") {
		usage(c)
		return &usageError{fmt.Sprintf("want INSTANCE|GROUP NAME STATE [PRIORITY], got %q", args)}
	}
	if err := intent.ValidScope(args[1]); err != nil {
		return &usageError{err.Error()}
	}
	return say(c, control.OpSettle, args[1], args[2])
}

// fifo is keepalived's vrrp_notify_fifo_script. Each line is a hook of its own,
// ordered by a token: a newer one need not wait for the older.
func fifo(c *cli.Context) error {
	if c.NArg() != 1 {
		return &usageError{fmt.Sprintf("fifo takes the path of the FIFO, got %q", c.Args().Slice())}
	}
	log := logger(c)
	hook.RaisePriority()
	h, owner := newHook(c, log), intent.Keepalived()
	self, err := intent.Self()
	if err != nil {
		return err
	}
	path, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	takeOver := func() { // which ends what the keeper does in the place of one
		if err := takeOver(c, owner, self, path); err != nil {
			log.Error("cannot take over from an earlier reader of the FIFO", "error", err)
		}
	}
	alive, free := owner.Alive()
	defer free()
	clock := intent.NewNoticeClock(owner)
	var lines sync.WaitGroup
	ctx := context.WithoutCancel(c.Context) // the last states come after SIGTERM
	take := func(n keepalived.Notice) {
		change := intent.ParseState(n.State)
		if change == intent.UnknownState {
			log.Error("unknown state transition", "state", n.State, "name", n.Scope)
		}
		i := intent.Intent{Scope: n.Scope, State: n.State, Owner: owner, Channel: self, FIFO: path, At: time.Now()}
		switch change {
		case intent.ToAnnounce:
			lines.Go(func() { announceAgain(ctx, h, i, log) })
			return
		case intent.ToPrimary, intent.ToBackup:
		default:
			return
		}
		if change == intent.ToPrimary {
			i.Role = intent.Primary
		}
		var err error
		if i.Token, err = clock.Next(); err != nil {
			log.Error("cannot order a notification", "error", err)
			return
		}
		lines.Go(func() {
			if _, err := h.Say(ctx, control.OpSettle, i, fifoWait); err != nil {
				log.Error("cannot become "+i.Role.String(), "error", err)
			}
		})
	}
	err = keepalived.ReadFIFO(c.Context, path, alive, takeOver, take, func(err error) {
		log.Warn("line in the FIFO is not keepalived's", "error", err)
	})
	lines.Wait()
	return err
}

func takeOver(c *cli.Context, keepalived, reader intent.Process, path string) error {
	store, err := intent.OpenStore(runDir(c))
	if err != nil {
		return err
	}
	return store.TakeOver(keepalived, reader, path)
}

// fifoWait is how long a line's hook waits for the keeper, which logs the outcome.
const fifoWait = time.Second

// announceAgain is for a master that received an advert of a lower priority.
func announceAgain(ctx context.Context, h hook.Hook, i intent.Intent, log *slog.Logger) {
	if err := h.Announce(ctx, i); err != nil {
		log.Error("cannot have the address announced again", "error", err)
	}
}

// say sends the role request of a state to the keeper.
func say(c *cli.Context, op, scope, state string) error {
	log := logger(c)
	i := intent.Intent{Scope: scope, State: state, Owner: intent.Keepalived(), At: time.Now()}
	switch intent.ParseState(state) {
	case intent.ToPrimary:
		i.Role = intent.Primary
	case intent.ToBackup:
		i.Role = intent.Backup
	case intent.ToAnnounce:
		announceAgain(c.Context, newHook(c, log), i, log)
		return nil
	case intent.NoChange:
		return nil
	default:
		if op != control.OpRelease {
			usage(c)
			log.Error("unknown state transition", "state", state)
			return &usageError{fmt.Sprintf("unknown state %q", state)}
		}
	}
	if i.Role == intent.Backup && i.Owner != (intent.Process{}) {
		hook.RaisePriority() // to stop transmission before the peer is unmuted
	}
	if i.Role == intent.Primary && intent.Orphaned() {
		return errors.New("the keepalived that asked has exited")
	}
	against := disputes(c, i)
	if i.Role == intent.Primary && len(against) > 0 && c.Command.Name == "primary" && !c.Bool("force") {
		return &usageError{refusal(against[0])}
	}
	var err error
	if i.Token, err = intent.ProcessToken(); err != nil {
		return err
	}
	a, err := newHook(c, log).Say(c.Context, op, i, c.Duration("wait"))
	if err != nil {
		log.Error("cannot become "+i.Role.String(), "error", err)
		return err
	}
	report(c, log, a)
	for _, d := range against {
		log.Warn(d.Text())
		fmt.Fprintln(c.App.ErrWriter, "wanfail: warning:", d.Text()+advice(d))
	}
	if a.Outcome == control.Degraded {
		return exitError(exitDegraded)
	}
	return nil
}

// report prints what was done if a person reads it, and logs what the keeper did
// not log.
func report(c *cli.Context, log *slog.Logger, a control.Answer) {
	if !journal.Discarded(os.Stdout) {
		view.Answer(c.App.Writer, a)
	}
	switch a.Outcome {
	case control.Superseded:
		log.Debug("superseded", "by", a.By, "role", a.Role)
	case control.Degraded:
		log.Warn("is "+a.Role.String()+", degraded", "problems", strings.Join(a.Problems, "; "))
	}
}
