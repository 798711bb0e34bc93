package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/hooks/view"
)

// Exit codes.
const (
	exitOK       = 0
	exitDegraded = 1 // the role is reached, but something is not as it should be
	exitUsage    = 2 // usage or configuration; nothing was changed
)

// Run runs a command line and returns the exit code. It ends soon after ctx.
func Run(ctx context.Context, version string, args []string, stdout, stderr io.Writer) int {
	usualUmask()
	app := App(version)
	app.Writer, app.ErrWriter = stdout, stderr
	err := app.RunContext(ctx, args)
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	var usage *usageError
	var badConfig *hook.ConfigError
	var unsafe *rundir.UnsafeError
	for i, line := range strings.Split(err.Error(), "\n") { // of joined errors
		if line = view.Clean(line); i == 0 {
			line = "wanfail: " + line
		}
		fmt.Fprintln(stderr, line)
	}
	if errors.As(err, &usage) || errors.As(err, &badConfig) || errors.As(err, &unsafe) {
		return exitUsage
	}
	return exitDegraded
}

// exitError ends the program with a code and prints nothing.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is an invalid command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// App is the tree of commands. What --help, the manual page and the completions
// say of a command or flag stands here.
func App(version string) *cli.App {
	return &cli.App{
		Name:    "wanfail",
		Usage:   "two routers, one DHCP-assigned WAN address",
		Version: version, HideHelpCommand: true,
		Description: `Two routers share one address that the ISP gives by DHCP. keepalived decides who
is master and calls wanfail, which makes it true on the WAN: the primary has a
macvlan interface with a MAC address that both routers share, and with it the
lease; the backup has none and is silent.

A command that changes the role records it and asks the resident process, the
keeper, to make it so; where none runs, it starts one. The newest word wins.`,
		ExitErrHandler: func(*cli.Context, error) {}, // Run maps errors to exit codes
		OnUsageError:   onUsage,
		Before:         checkFlags,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: config.DefaultPath(), DefaultText: "/etc/wanfail.conf, on OpenWrt /etc/config/wanfail", Usage: "configuration `FILE`"},
			&cli.StringFlag{Name: "run-dir", Value: defaultRunDir(), DefaultText: "/run/wanfail, on OpenWrt /var/run/wanfail", Usage: "`DIR` of state and socket, on a tmpfs"},
			&cli.StringFlag{Name: "log-level", Value: "info", DefaultText: "option log_level, or info", Usage: "`LEVEL` of the log: debug, info, warn or error"},
		},
		Action:   unknown,
		Commands: commands(),
	}
}

func commands() []*cli.Command {
	wait := &cli.DurationFlag{Name: "wait", Value: 5 * time.Second, Usage: "how long to wait until the role is reached"}
	dryRun := &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "print what would change, and change nothing", DisableDefaultText: true}
	force := &cli.BoolFlag{Name: "force", Usage: "although a running keepalived says that this router is not master", DisableDefaultText: true}
	role := func(name, usage string, role intent.Role, aliases ...string) *cli.Command {
		flags := []cli.Flag{wait, dryRun}
		if role == intent.Primary {
			flags = append(flags, force)
		}
		return &cli.Command{
			Name: name, Aliases: aliases, Usage: usage, Flags: flags,
			Action: asRoot(func(c *cli.Context) error {
				if c.Bool("dry-run") {
					return printDryRun(c, role)
				}
				return say(c, control.OpSettle, "", strings.ToUpper(typed(c)))
			}),
		}
	}
	all := []*cli.Command{
		role("primary", "take over the WAN", intent.Primary, "master"),
		role("backup", "give up the WAN: stop transmission first, then the rest", intent.Backup, "fault", "stop"),
		{
			Name: "notify", Usage: "take keepalived's generic notification", ArgsUsage: "TYPE NAME STATE [PRIORITY]",
			Flags: []cli.Flag{wait}, Action: asRoot(notify),
		},
		{
			Name: "announce", Usage: "announce the address of a primary again, as keepalived's notify_master_rx_lower_pri",
			Action: asRoot(func(c *cli.Context) error { return say(c, control.OpAnnounce, "", "MASTER_RX_LOWER_PRI") }),
		},
		{
			Name: "fifo", Usage: "read keepalived's notify FIFO, as its vrrp_notify_fifo_script", ArgsUsage: "PATH",
			Action: asRoot(fifo),
		},
		{
			Name: "keeper", Usage: "run the process that makes the router match its role", Action: asRoot(keep),
			Flags: []cli.Flag{&cli.BoolFlag{Name: "syslog", Usage: "log to syslog, whoever reads standard error", DisableDefaultText: true}},
		},
		statusCommand(),
		checkCommand(),
		doctorCommand(),
		drillCommand(),
		{
			Name: "release", Usage: "give the lease back to the ISP and become backup", Flags: []cli.Flag{wait},
			Action: asRoot(func(c *cli.Context) error { return say(c, control.OpRelease, "", "RELEASE") }),
		},
	}
	for _, c := range all {
		c.OnUsageError = onUsage
		if c.ArgsUsage == "" {
			c.ArgsUsage = " " // none, where cli would show its own text
			c.Action = withoutArguments(c.Name, c.Action)
		}
	}
	return all
}

// typed is the name by which a command was called: a state of keepalived's may be
// an alias.
func typed(c *cli.Context) string {
	if all := c.Lineage(); len(all) > 1 && c.Command.HasName(all[1].Args().First()) {
		return all[1].Args().First()
	}
	return c.Command.Name
}

// withoutArguments refuses arguments to a command that has none.
func withoutArguments(name string, action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() > 0 {
			return &usageError{fmt.Sprintf("%s takes no argument, got %q", name, c.Args().Slice())}
		}
		return action(c)
	}
}

func onUsage(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} }

// unknown runs when no command matches: keepalived may call it with a state that
// wanfail does not know.
func unknown(c *cli.Context) error {
	usage(c)
	if c.NArg() > 0 {
		logger(c).Error("unknown state transition", "state", c.Args().First())
		return &usageError{fmt.Sprintf("unknown command or state %q", c.Args().First())}
	}
	return exitError(exitUsage)
}

// usage reminds of the commands, each in one line.
func usage(c *cli.Context) {
	w := c.App.ErrWriter
	fmt.Fprintln(w, "usage: wanfail [--config FILE] [--run-dir DIR] [--log-level LEVEL] COMMAND")
	fmt.Fprintln(w)
	for _, cmd := range c.App.Commands {
		fmt.Fprintf(w, "  %-24s %s\n", strings.Join(cmd.Names(), " | "), cmd.Usage)
	}
	fmt.Fprintln(w, "\nwanfail --help says more.")
}
