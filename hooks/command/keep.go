package command

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/userhooks"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
	"github.com/wanfail/wanfail/services/conntrackd"
	"github.com/wanfail/wanfail/services/netifd"
	"github.com/wanfail/wanfail/services/resolver"
)

// hook is how this process connects to a keeper, or acts without one.
func newHook(c *cli.Context, log *slog.Logger) hook.Hook {
	log, step := instrument(log, "HOOK")
	args := []string{"--config", c.String("config"), "--run-dir", runDir(c).String()}
	if c.IsSet("log-level") { // else the configuration says
		args = append(args, "--log-level", c.String("log-level"))
	}
	return hook.Hook{
		Step: step,
		Starter: hook.Starter{
			RunDir: runDir(c), Args: append(args, "keeper"),
			Installed: c.String("config") == config.DefaultPath() && c.String("run-dir") == defaultRunDir(),
		},
		Check: func() error {
			_, err := config.Load(c.String("config"))
			return err
		},
		Alone: func(ctx context.Context, i intent.Intent, finish bool) control.Answer {
			o, stop, err := assemble(c, log)
			defer stop()
			if o.Network == nil {
				return control.Answer{Outcome: control.Degraded, Role: intent.Backup, Problems: []string{err.Error()}}
			}
			// Without a readable configuration the links that have wanfail's mark are
			// muted: that does not depend on a well-formed file.
			a := keeper.Alone(ctx, o, i, finish)
			if err != nil {
				a.Outcome, a.Problems = control.Degraded, append(a.Problems, err.Error())
			}
			return a
		},
		Silence: func(ctx context.Context, i intent.Intent) error {
			o, stop, err := assemble(c, log)
			defer stop()
			if o.Network == nil {
				return err
			}
			return keeper.Silence(ctx, o, i)
		},
	}
}

// assemble makes a keeper's options. They are returned as far as possible even with
// an error; stop frees them.
func assemble(c *cli.Context, log *slog.Logger) (o keeper.Options, stop func(), err error) {
	o = keeper.Options{RunDir: runDir(c), Version: c.App.Version, Log: log, Ready: func() {}}
	stop = func() {}
	n, err := netif.New(log, netif.WithOwner(owner(c)))
	if err != nil {
		return o, stop, err
	}
	o.Network = n
	stop = func() { _ = n.Close() }
	if o.Config, err = config.Load(c.String("config")); err != nil {
		return o, stop, &hook.ConfigError{Err: err}
	}
	m, err := services.Detect(log)
	if err != nil {
		return o, stop, err
	}
	o.Services = m
	o.Replica = keeper.Replication(o.Config.Conntrackd, conntrackd.ConfigFile, log)
	if n := netifd.Detect(netif.Protocol); n != nil {
		o.Publishers = append(o.Publishers, keeper.Netifd{Notifier: n})
	} else {
		o.Publishers = append(o.Publishers, keeper.Resolver{Names: resolver.New(o.RunDir.ResolvConf(), log)})
	}
	return o, func() { _ = n.Close(); _ = m.Close() }, nil
}

// keep runs the keeper.
func keep(c *cli.Context) error {
	var lowest slog.LevelVar
	lowest.Set(level(c))
	open := journal.New
	if c.Bool("syslog") {
		open = journal.Syslog
	}
	log, step := instrument(open(&lowest), "KEEPER")
	o, stop, err := assemble(c, log)
	defer stop()
	if !c.IsSet("log-level") {
		lowest.Set(o.Config.LogLevel)
	}
	if err != nil {
		log.Error("cannot start", "error", err)
		return err
	}
	o.Step = step
	o.Ready = func() {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without systemd it does nothing
		log.Debug("keeper is ready", "version", c.App.Version)
	}
	if limit, err := daemon.SdWatchdogEnabled(false); err == nil && limit > 0 {
		o.AliveEvery = limit / 4
		o.Alive = func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) }
	}
	scripts := userhooks.New(userhooks.Dir, o.RunDir.Scripts(), log).Outside()
	scripts.Only(o.Config.WANs)
	o.Roles, o.Publishers = scripts.Role, append(o.Publishers, scripts)
	var beside sync.WaitGroup
	ctx, cancel := context.WithCancel(c.Context)
	defer func() { cancel(); beside.Wait() }()
	beside.Go(func() { scripts.Run(ctx) })
	k := keeper.New(o)
	defer onHangup(k.Refresh)()
	err = k.Run(c.Context)
	if errors.Is(err, keeper.ErrRunning) {
		log.Warn("another keeper is running already", "run-dir", o.RunDir.String())
		return nil
	}
	if err != nil {
		log.Error("keeper ends", "error", err)
	}
	return err
}

// onHangup calls f for each SIGHUP, which OpenWrt's protocol handler sends when
// netifd has lost what was published, until stop is called.
func onHangup(f func()) (stop func()) {
	hup, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hup:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(done)
	}
}
