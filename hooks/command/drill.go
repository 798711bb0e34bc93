package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/drill"
	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/netif"
)

func drillCommand() *cli.Command {
	return &cli.Command{
		Name: "drill", Usage: "change places with the peer and back, with a stopwatch", Action: rehearsal,
		Description: `Run on the primary. Lowers this router's VRRP priority through a track_file of
keepalived, waits until the peer has taken over and answers for the virtual
address, puts the priority back and waits for the return. keepalived decides all
the way: without a peer that takes over this router stays master. It needs the
track_file of packaging/keepalived/keepalived-drill.conf on this router.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", DisableDefaultText: true},
			&cli.DurationFlag{Name: "limit", DefaultText: "10s more than keepalived's preempt_delay", Usage: "how long each change may take"},
			&cli.DurationFlag{Name: "hold", Value: 5 * time.Second, Usage: "how long the peer stays master"},
		},
	}
}

// pair is how a drill moves keepalived and what it watches.
type pair struct {
	instance *doctor.Instance
	file     string
	weight   int
	vips     []doctor.VIP
	reports  chan hooks.Report
}

func rehearsal(c *cli.Context) error {
	if r, err := ask(c); err != nil {
		return err
	} else if r.Role != hooks.Primary {
		return drill.ErrNotPrimary
	}
	p, err := findPair(&doctor.System{Root: "/", Now: time.Now, Run: run})
	if err != nil {
		return err
	}
	plan := drill.Plan{
		Lower: -(p.instance.Priority - 1), Limit: c.Duration("limit"), Hold: c.Duration("hold"), Stay: p.instance.NoPreempt,
		Say: func(after time.Duration, text string) {
			fmt.Fprintf(c.App.Writer, "%9.3fs  %s\n", after.Seconds(), text)
		},
	}
	if plan.Limit <= 0 {
		plan.Limit = 10*time.Second + time.Duration(p.instance.Delay*float64(time.Second))
	}
	describe(c.App.Writer, p, plan)
	if !c.Bool("yes") {
		if ok, err := confirmed(c); !ok {
			return err
		}
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	go func() {
		defer close(p.reports)
		_ = followOne(ctx, c, func(r hooks.Report) {
			select {
			case p.reports <- r:
			case <-ctx.Done():
			}
		})
	}()
	return drill.Run(ctx, p, plan)
}

func describe(w io.Writer, p *pair, plan drill.Plan) {
	fmt.Fprintf(w, "This router, master of %s with priority %d, will\n", p.instance.Name, p.instance.Priority)
	fmt.Fprintf(w, "  1. lower its priority to 1 through %s;\n", p.file)
	fmt.Fprintf(w, "  2. wait at most %v until the peer has taken over;\n", plan.Limit)
	fmt.Fprintf(w, "  3. put the priority back after %v more, ", plan.Hold)
	if plan.Stay {
		fmt.Fprintln(w, "and stay backup (nopreempt).")
	} else {
		fmt.Fprintf(w, "and wait at most %v for the return.\n", plan.Limit)
	}
	fmt.Fprintln(w, "If the peer does not take over, this router stays master all the time.")
}

func confirmed(c *cli.Context) (bool, error) {
	in, ok := c.App.Reader.(*os.File)
	if !ok || !journal.IsTerminal(in) {
		return false, &usageError{"drill asks before it begins, and there is no terminal: --yes"}
	}
	fmt.Fprint(c.App.Writer, "Begin? [y/N] ")
	line, _ := bufio.NewReader(in).ReadString('\n')
	if yes := strings.ToLower(strings.TrimSpace(line)); yes == "y" || yes == "yes" {
		return true, nil
	}
	fmt.Fprintln(c.App.Writer, "nothing was changed")
	return false, nil
}

// findPair finds the instance and its track_file.
func findPair(sys *doctor.System) (*pair, error) {
	k, err := sys.Keepalived()
	if err != nil {
		return nil, fmt.Errorf("read keepalived's configuration: %w", err)
	}
	f := &doctor.Facts{Keepalived: k, Addresses: doctor.HostAddresses()}
	for _, i := range k.Instances {
		at := slices.IndexFunc(i.Files, func(name string) bool { return strings.Contains(name, "drill") })
		if i.Group || at < 0 {
			continue
		}
		tf := k.TrackFiles[i.Files[at]]
		weight, err := strconv.Atoi(tf.Weight)
		if i.Weights[at] != "" {
			weight, err = strconv.Atoi(i.Weights[at])
		}
		if err != nil || weight != 1 && weight != -1 || tf.Path == "" {
			return nil, fmt.Errorf("track_file %s needs a file, and weight 1: with weight 0 this router would be in FAULT, whether there is a peer or not", i.Files[at])
		}
		p := &pair{instance: i, file: tf.Path, weight: weight, vips: f.VIPs(), reports: make(chan hooks.Report, 16)}
		return p, p.ready()
	}
	return nil, fmt.Errorf("%s has no track_file whose name has `drill` in it; see packaging/keepalived/keepalived-drill.conf", k.File)
}

// ready refuses a file that is not keepalived's, or that an earlier drill left.
func (p *pair) ready() error {
	b, err := os.ReadFile(p.file)
	if err != nil {
		return fmt.Errorf("keepalived makes the track_file when it starts (init_file): %w", err)
	}
	if text := strings.TrimSpace(string(b)); text != "0" && text != "" {
		return fmt.Errorf("%s holds %s: another drill runs, or one was killed; then put it back: echo 0 >%s", p.file, text, p.file)
	}
	return nil
}

// Priority implements drill.Router. keepalived watches the file (inotify).
func (p *pair) Priority(delta int) error {
	f, err := os.OpenFile(p.file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", delta*p.weight)
	return errors.Join(err, f.Close())
}

// Reports implements drill.Router.
func (p *pair) Reports() <-chan hooks.Report { return p.reports }

// PeerAnswers implements drill.Router.
func (p *pair) PeerAnswers(ctx context.Context) error {
	if len(p.vips) == 0 {
		return drill.ErrCannotAsk
	}
	n, err := netif.New(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer n.Close()
	// ProbeGateway repeats the question until ctx ends.
	_, err = n.ProbeGateway(ctx, p.vips[0].Device, p.vips[0].Source, p.vips[0].Address)
	return err
}
