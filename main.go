// wanfail lets two routers share one DHCP-assigned WAN address. keepalived calls
// it when a router becomes master or backup; see README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/netifd"
	"github.com/wanfail/wanfail/hooks/view"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
	"github.com/wanfail/wanfail/services/conntrackd"
)

// version is stamped by the linker.
var version = "dev"

// Exit codes.
const (
	exitOK       = 0
	exitDegraded = 1 // the role is reached, but something is not as it should be
	exitUsage    = 2 // usage or configuration; nothing was changed
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := app(stdout, stderr).RunContext(ctx, args)
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	var usage *usageError
	var badConfig *hooks.ConfigError
	fmt.Fprintln(stderr, "wanfail:", err)
	if errors.As(err, &usage) || errors.As(err, &badConfig) {
		return exitUsage
	}
	return exitDegraded
}

// exitError ends the program with a code when everything has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that cannot be obeyed.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func app(stdout, stderr io.Writer) *cli.App {
	wait := &cli.DurationFlag{Name: "wait", Value: 5 * time.Second, Usage: "how long to wait until the role is reached"}
	role := func(name, usage string, aliases ...string) *cli.Command {
		return &cli.Command{
			Name: name, Aliases: aliases, Usage: usage, Flags: []cli.Flag{wait}, OnUsageError: onUsage,
			Action: func(c *cli.Context) error {
				if c.NArg() > 0 {
					return &usageError{fmt.Sprintf("%s takes no argument, got %q", name, c.Args().Slice())}
				}
				return say(c, hooks.OpSettle, "", strings.ToUpper(c.Command.Name))
			},
		}
	}
	return &cli.App{
		Name:    "wanfail",
		Usage:   "two routers, one DHCP-assigned WAN address",
		Version: version, HideHelpCommand: true,
		Writer: stdout, ErrWriter: stderr,
		ExitErrHandler: func(*cli.Context, error) {}, // run maps errors to exit codes
		OnUsageError:   onUsage,
		Before:         checkFlags,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: config.DefaultPath(), Usage: "configuration `FILE`"},
			&cli.StringFlag{Name: "run-dir", Value: defaultRunDir(), Usage: "`DIR` of state and socket, on a tmpfs"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
		},
		Action: unknown,
		Commands: []*cli.Command{
			role("primary", "take over the WAN", "master"),
			role("backup", "give up the WAN: silence first, then the rest", "fault", "stop"),
			{
				Name: "notify", Usage: "take keepalived's generic notification", ArgsUsage: "TYPE NAME STATE [PRIORITY]",
				Flags: []cli.Flag{wait}, OnUsageError: onUsage, Action: notify,
			},
			{
				Name: "fifo", Usage: "read keepalived's notify FIFO, as its vrrp_notify_fifo_script", ArgsUsage: "PATH",
				OnUsageError: onUsage, Action: fifo,
			},
			{
				Name: "keeper", Usage: "run the process that makes the router match its role", OnUsageError: onUsage,
				Action: keep,
			},
			{
				Name: "status", Usage: "show role, WANs and services", OnUsageError: onUsage, Action: status,
				Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
			},
			{
				Name: "release", Usage: "give the lease back to the ISP and become backup", OnUsageError: onUsage,
				Flags: []cli.Flag{wait},
				Action: func(c *cli.Context) error {
					if c.NArg() > 0 {
						return &usageError{fmt.Sprintf("release takes no argument, got %q", c.Args().Slice())}
					}
					return say(c, hooks.OpRelease, "", "RELEASE")
				},
			},
		},
	}
}

func onUsage(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} }

// unknown is what runs when no command matches: as keepalived would call it with
// a state that nobody knows.
func unknown(c *cli.Context) error {
	_, _ = fmt.Fprint(c.App.ErrWriter, usage)
	if c.NArg() > 0 {
		logger(c).Error("unknown state transition", "state", c.Args().First())
		return &usageError{fmt.Sprintf("unknown command or state %q", c.Args().First())}
	}
	return exitError(exitUsage)
}

const usage = `usage: wanfail [--config FILE] [--run-dir DIR] [--log-level LEVEL] COMMAND

  primary | master            take over the WAN
  backup | fault | stop       give up the WAN
  notify TYPE NAME STATE PRIO keepalived's generic notification
  fifo PATH                   keepalived's vrrp_notify_fifo_script
  keeper                      run the resident process
  status [--json]             show role, WANs and services
  release                     give the lease back and become backup

wanfail --help says more.
`

// notify is keepalived's `notify`: it appends INSTANCE|GROUP NAME STATE PRIORITY.
func notify(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) < 3 || len(args) > 4 || (args[0] != "INSTANCE" && args[0] != "GROUP") {
		_, _ = fmt.Fprint(c.App.ErrWriter, usage)
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
	h, owner := hook(c, log), hooks.Keepalived()
	var seq uint64
	var lines sync.WaitGroup
	ctx := context.WithoutCancel(c.Context) // the last states come after SIGTERM
	take := func(n hooks.Notice) {
		change := hooks.ParseState(n.State)
		if change == hooks.UnknownState {
			log.Error("unknown state transition", "state", n.State, "name", n.Scope)
		}
		if change != hooks.ToPrimary && change != hooks.ToBackup {
			return
		}
		seq++
		i := hooks.Intent{Scope: n.Scope, State: n.State, Owner: owner, At: time.Now()}
		if change == hooks.ToPrimary {
			i.Role = hooks.Primary
		}
		var err error
		if i.Token, err = hooks.NowToken(seq); err != nil {
			log.Error("cannot order a notification", "err", err)
			return
		}
		lines.Go(func() {
			if _, err := h.Say(ctx, hooks.OpSettle, i, fifoWait); err != nil {
				log.Error("cannot become "+i.Role.String(), "err", err)
			}
		})
	}
	err := hooks.ReadFIFO(c.Context, c.Args().First(), take, func(err error) {
		log.Warn("line in the FIFO is not keepalived's", "err", err)
	})
	lines.Wait()
	return err
}

// fifoWait is how long a line's hook waits for the keeper, which logs what
// becomes of it.
const fifoWait = time.Second

// say carries a state to the keeper.
func say(c *cli.Context, op, scope, state string) error {
	log := logger(c)
	i := hooks.Intent{Scope: scope, State: state, Owner: hooks.Keepalived(), At: time.Now()}
	switch hooks.ParseState(state) {
	case hooks.ToPrimary:
		i.Role = hooks.Primary
	case hooks.ToBackup:
		i.Role = hooks.Backup
	case hooks.NoChange:
		return nil
	default:
		if op != hooks.OpRelease {
			_, _ = fmt.Fprint(c.App.ErrWriter, usage)
			log.Error("unknown state transition", "state", state)
			return &usageError{fmt.Sprintf("unknown state %q", state)}
		}
	}
	var err error
	if i.Token, err = hooks.ProcessToken(); err != nil {
		return err
	}
	a, err := hook(c, log).Say(c.Context, op, i, c.Duration("wait"))
	if err != nil {
		log.Error("cannot become "+i.Role.String(), "err", err)
		return err
	}
	report(c, log, a)
	if a.Outcome == hooks.Degraded {
		return exitError(exitDegraded)
	}
	return nil
}

// report tells a person what was done, if there is one, and the log what the
// keeper did not.
func report(c *cli.Context, log *slog.Logger, a hooks.Answer) {
	if !journal.Discarded(os.Stdout) {
		view.Answer(c.App.Writer, a)
	}
	switch a.Outcome {
	case hooks.Superseded:
		log.Info("superseded", "by", a.By, "role", a.Role)
	case hooks.Degraded:
		log.Warn("is "+a.Role.String()+", degraded", "problems", a.Problems)
	}
}

// hook is how this process reaches a keeper, or does without one.
func hook(c *cli.Context, log *slog.Logger) hooks.Hook {
	return hooks.Hook{
		Starter: hooks.Starter{
			RunDir: c.String("run-dir"),
			Args: []string{
				"--config", c.String("config"), "--run-dir", c.String("run-dir"),
				"--log-level", c.String("log-level"), "keeper",
			},
			Installed: c.String("config") == config.DefaultPath() && c.String("run-dir") == defaultRunDir(),
		},
		Check: func() error {
			_, err := config.Load(c.String("config"))
			return err
		},
		Alone: func(ctx context.Context, finish bool) hooks.Answer {
			o, stop, err := assemble(c, log)
			defer stop()
			if o.Network == nil {
				return hooks.Answer{Outcome: hooks.Degraded, Role: hooks.Backup, Problems: []string{err.Error()}}
			}
			// Without a readable configuration there are still the links that carry
			// wanfail's mark: silence does not depend on a well-formed file.
			a := keeper.Alone(ctx, o, finish)
			if err != nil {
				a.Outcome, a.Problems = hooks.Degraded, append(a.Problems, err.Error())
			}
			return a
		},
	}
}

// assemble puts a keeper together. What could be had is returned even with an
// error; stop frees it.
func assemble(c *cli.Context, log *slog.Logger) (o keeper.Options, stop func(), err error) {
	o = keeper.Options{RunDir: c.String("run-dir"), Version: version, Log: log, Ready: func() {}}
	stop = func() {}
	n, err := netif.New(log)
	if err != nil {
		return o, stop, err
	}
	o.Network = n
	stop = func() { _ = n.Close() }
	if o.Config, err = config.Load(c.String("config")); err != nil {
		return o, stop, &hooks.ConfigError{Err: err}
	}
	m, err := services.Detect(log)
	if err != nil {
		return o, stop, err
	}
	o.Services = m
	o.Replica = keeper.Replication(o.Config.Conntrackd, conntrackd.ConfigFile, log)
	if n := netifd.Detect(netif.Protocol); n != nil {
		o.Publishers = append(o.Publishers, keeper.Netifd{Notifier: n})
	}
	return o, func() { _ = n.Close(); _ = m.Close() }, nil
}

// keep runs the keeper.
func keep(c *cli.Context) error {
	log := journal.New(level(c))
	o, stop, err := assemble(c, log)
	defer stop()
	if err != nil {
		log.Error("cannot start", "err", err)
		return err
	}
	o.Ready = func() {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // no systemd: nobody to tell
		log.Info("keeper is ready", "version", version)
	}
	err = keeper.New(o).Run(c.Context)
	if errors.Is(err, keeper.ErrRunning) {
		log.Info("another keeper is running already", "run-dir", o.RunDir)
		return nil
	}
	if err != nil {
		log.Error("keeper ends", "err", err)
	}
	return err
}

func status(c *cli.Context) error {
	conn, err := hooks.Dial(c.Context, c.String("run-dir"))
	if errors.Is(err, hooks.ErrNoKeeper) {
		return fmt.Errorf("%w in %s; `wanfail primary` or `wanfail keeper` starts one", err, c.String("run-dir"))
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(c.Context, 5*time.Second)
	defer cancel()
	var r hooks.Report
	if err := conn.Ask(ctx, hooks.Request{Op: hooks.OpStatus}, &r); err != nil {
		return err
	}
	if !c.Bool("json") {
		view.Report(c.App.Writer, r)
		return nil
	}
	enc := json.NewEncoder(c.App.Writer)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// logger is for the short-lived commands, whose stderr belongs to a person;
// the keeper's logs go where its supervisor reads them.
func logger(c *cli.Context) *slog.Logger { return journal.Syslog(level(c)) }

// level is valid: Before has checked it.
func level(c *cli.Context) (l slog.Level) {
	_ = l.UnmarshalText([]byte(c.String("log-level")))
	return l
}

// checkFlags refuses values of global flags that no command could use.
func checkFlags(c *cli.Context) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return &usageError{fmt.Sprintf("--log-level %q: want debug, info, warn or error", c.String("log-level"))}
	}
	return nil
}

// defaultRunDir is on a tmpfs on both platforms.
func defaultRunDir() string {
	if info, err := os.Stat("/run"); err == nil && info.IsDir() {
		return "/run/wanfail"
	}
	return "/var/run/wanfail" // OpenWrt
}
