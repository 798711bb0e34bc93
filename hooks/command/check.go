package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/check"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "tell whether this router can be master, for keepalived's track_script", Action: checkFit,
		Description: `Exits with 0 or 1 and says why in one line. As backup: the parent is there and
has a carrier, the configuration is valid, the keeper answers, the services are
installed, keepalived runs, and conntrackd has the connections where they are
replicated. As primary also: a lease is held and the gateway answers. A new
primary has 30 s to get there. Nothing is sent. What keepalived is like itself
counts only where it is not keepalived that asks.

A line that is dead for both routers must not make them swap the role for ever.
So track --local, what is this router's own, without a weight, and the whole
with a weight less than the difference of the priorities; see
packaging/keepalived/keepalived-check.conf.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "local", Usage: "only what is this router's own: neither lease nor gateway", DisableDefaultText: true}},
	}
}

// Of the time that a check may take the keeper and the service manager get the
// most; a busy service manager is no reason to give up the LAN.
const (
	keeperLimit  = 250 * time.Millisecond
	managerLimit = 10 * time.Millisecond
)

func checkFit(c *cli.Context) error {
	ok, reason := check.Verdict(fitness(c))
	// keepalived logs nothing of it, but a person may ask.
	fmt.Fprintln(c.App.Writer, strings.ReplaceAll(reason, "\n", "; "))
	if !ok {
		return exitError(exitDegraded)
	}
	return nil
}

// fitness gathers the facts, and no more than the verdict needs.
func fitness(c *cli.Context) check.Facts {
	f := check.Facts{Now: time.Now(), Local: c.Bool("local"), Tracked: intent.Keepalived() != intent.Process{}}
	cfg, err := config.Load(c.String("config"))
	if f.Config = err; err != nil {
		return f
	}
	ctx, cancel := context.WithTimeoutCause(c.Context, keeperLimit, errors.New("no answer"))
	defer cancel()
	conn, err := control.Dial(ctx, runDir(c))
	if err == nil {
		defer conn.Close()
		if err = conn.Ask(ctx, control.Request{Op: control.OpStatus}, &f.Report); err == nil {
			err = sane(f.Report)
		}
	}
	if f.Keeper = notAllowed(err); f.Keeper != nil {
		return f
	}
	f.Parents = parents(c, cfg)
	if cfg.ServicesNamed {
		f.Missing, f.Unasked = missing(c.Context, cfg.Services)
	}
	return f
}

func parents(c *cli.Context, cfg config.Config) (all []check.Parent) {
	n, err := netif.New(slog.New(slog.DiscardHandler), netif.WithOwner(owner(c)))
	if err == nil {
		defer n.Close()
	}
	for _, w := range cfg.WANs {
		p := check.Parent{WAN: w.Name, Name: w.Parent, Err: err}
		if err == nil {
			p.Seen, p.Err = n.Observe(c.Context, netif.Link{Name: w.Name, Parent: w.Parent, MAC: w.MAC})
		}
		all = append(all, p)
	}
	return all
}

// missing are the services that are not installed, as far as that could be told
// in time.
func missing(ctx context.Context, names []string) (none []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, managerLimit, errors.New("the service manager is busy"))
	defer cancel()
	m, err := services.Detect(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	for _, name := range names {
		there, err := m.Installed(ctx, name)
		if err != nil {
			return none, err
		}
		if !there {
			none = append(none, name)
		}
	}
	return none, nil
}
