package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/drill"
	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/hooks/view"
)

func drillCommand() *cli.Command {
	return &cli.Command{
		Name: "drill", Usage: "swap roles with the peer and back, and measure both", Action: asRoot(runDrill),
		Description: `Run on the primary. Lowers this router's VRRP priority through a track_file of
keepalived, waits until the peer has taken over and answers for the virtual
address, puts the priority back and waits for the return. keepalived decides all
the way: without a peer that takes over this router stays master. It needs the
track_file of packaging/keepalived/keepalived-drill.conf on this router.

All that a WAN follows moves together: each instance with the track_file, and
sync groups that have it themselves. --instance moves one of them, which needs a
track_file of its own for that.

^C, or the end of the session, puts the priority back. After a kill -9 the peer
keeps the role, and wanfail doctor says how to put the priority back.

Exits with 0 when everything is as before, or this router stays backup because
of nopreempt; 1 when the drill was not begun or did not go well; 2 when the
command line or a configuration does not allow it, and nothing was changed.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", DisableDefaultText: true},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "say what the drill would do, and do nothing", DisableDefaultText: true},
			&cli.StringFlag{Name: "instance", Usage: "move `NAME` only, a vrrp_instance with its group or a vrrp_sync_group"},
			&cli.DurationFlag{Name: "limit", DefaultText: "10s more than keepalived's preempt_delay", Usage: "how long each change may take"},
			&cli.DurationFlag{Name: "hold", Value: 5 * time.Second, Usage: "how long the peer stays master"},
			&cli.PathFlag{Name: "keepalived", DefaultText: "/etc/keepalived/keepalived.conf, on OpenWrt /tmp/keepalived.conf", Usage: "keepalived's configuration `FILE`"},
		},
	}
}

func runDrill(c *cli.Context) error {
	scope, err := chosen(c)
	if err != nil {
		return &hook.ConfigError{Err: err}
	}
	plan := drill.Plan{
		WANs: scope.WANs, Limit: c.Duration("limit"), Hold: c.Duration("hold"), Stay: scope.Stay,
		Say: func(after time.Duration, text string) {
			fmt.Fprintf(c.App.Writer, "%9.3fs  %s\n", after.Seconds(), view.Clean(text))
		},
	}
	if plan.Limit <= 0 {
		plan.Limit = 10*time.Second + time.Duration(scope.Delay*float64(time.Second))
	}
	if c.Bool("dry-run") {
		describe(c.App.Writer, scope, plan)
		return nil
	}
	tracked, err := drill.Lock(files.Tree{Root: "/"}, scope.Files)
	if err != nil {
		return err
	}
	defer tracked.Close()
	if r, err := ask(c); err != nil {
		return err
	} else if r.Role != intent.Primary {
		return drill.ErrNotPrimary
	}
	vips, err := drill.Watchable(scope.Instances, keepalived.HostAddresses())
	if err != nil {
		return err
	}
	describe(c.App.Writer, scope, plan)

	// Whatever ends the session must not end the drill half way; nor may ^Z stop
	// it there.
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	defer stop()
	signal.Ignore(syscall.SIGTSTP)
	if !c.Bool("yes") {
		if err := confirmed(ctx, c); err != nil {
			return err
		}
	}
	p := drill.NewPair(logger(c), tracked)
	defer p.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, v := range vips {
		plan.Watched = append(plan.Watched, v.Address)
		if err := p.Watch(ctx, v); err != nil {
			return err
		}
	}
	p.Follow(ctx, func(send func(control.Report)) { _ = followOne(ctx, c, send) })
	return drill.Run(ctx, p, plan)
}

// chosen is what is to move according to the configurations.
func chosen(c *cli.Context) (*drill.Scope, error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return nil, err
	}
	here := files.Tree{Root: "/"}
	var k *keepalived.Config
	if file := c.Path("keepalived"); file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
		k, err = keepalived.Load(here, file)
	} else {
		k, err = keepalived.Find(here)
	}
	if err != nil {
		return nil, fmt.Errorf("read keepalived's configuration: %w", err)
	}
	for _, file := range k.Files { // they name the files that root writes
		if err := here.Owned(file); err != nil {
			return nil, fmt.Errorf("keepalived's configuration must be root's alone: %w", err)
		}
	}
	return drill.Choose(k, cfg.WANs, c.String("instance"))
}

func describe(w io.Writer, s *drill.Scope, plan drill.Plan) {
	fmt.Fprintf(w, "%s, for %s: this router will\n", view.Clean(s.String()), strings.Join(s.WANs, ", "))
	fmt.Fprintf(w, "  1. lower its priority to 1 through %s;\n", view.Clean(strings.Join(s.Files, ", ")))
	delay := ""
	if s.Delay > 0 {
		delay = fmt.Sprintf(" (preempt_delay %gs)", s.Delay)
	}
	fmt.Fprintf(w, "  2. wait at most %v%s until the peer has taken over;\n", plan.Limit, delay)
	fmt.Fprintf(w, "  3. put the priority back after %v more, ", plan.Hold)
	if plan.Stay {
		fmt.Fprintln(w, "and stay backup (nopreempt).")
	} else {
		fmt.Fprintf(w, "and wait at most %v for the return.\n", plan.Limit)
	}
	fmt.Fprintln(w, "If the peer does not take over, this router stays master all the time.")
}

// confirmed is nil if the person at the terminal wants it.
func confirmed(ctx context.Context, c *cli.Context) error {
	in, ok := c.App.Reader.(*os.File)
	if !ok || !journal.IsTerminal(in) {
		return &usageError{"drill asks before it begins, and there is no terminal: --yes"}
	}
	fmt.Fprint(c.App.Writer, "Begin? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case yes := <-answer:
		if yes == "y" || yes == "yes" {
			return nil
		}
	case <-ctx.Done(): // the read does not end with it
		fmt.Fprintln(c.App.Writer)
	}
	return errors.New("no drill: nothing was changed")
}
