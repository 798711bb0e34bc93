package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/view"
)

// statusLimit is how long a keeper may take to report.
const statusLimit = 5 * time.Second

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show role, WANs and services", Action: status,
		Description: `Asks the keeper and shows the role, since when and by whom, each WAN with its
lease, gateway and the age of its last ARP reply, the services, the last
transitions with their phases, and warnings with what to do. Without a keeper it
shows what is on record and what the kernel holds, and exits with 1.

With --watch it follows until it is interrupted: on a terminal in place, else
one report after the other, with --json one in a line.

The forms of --json and --prometheus are stable; they are described in
/usr/share/doc/wanfail/status.md.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "follow what changes, as it changes", DisableDefaultText: true},
			&cli.BoolFlag{Name: "json", Usage: "as JSON", DisableDefaultText: true},
			&cli.BoolFlag{Name: "prometheus", Usage: "as metrics for node_exporter's textfile collector", DisableDefaultText: true},
		},
	}
}

func status(c *cli.Context) error {
	if c.Bool("prometheus") && (c.Bool("json") || c.Bool("watch")) {
		return &usageError{"--prometheus stands alone: neither --json nor --watch go with it"}
	}
	if c.Bool("watch") {
		return watch(c)
	}
	r, err := ask(c)
	noKeeper := errors.Is(err, control.ErrNoKeeper)
	if noKeeper {
		r = look(c)
	} else if err != nil {
		return notAllowed(err)
	}
	switch {
	case c.Bool("json"):
		err = printJSON(c.App.Writer, r, "  ")
	case c.Bool("prometheus"):
		view.Prometheus(c.App.Writer, r, time.Now())
		err = nil
	default:
		screen(c).Report(c.App.Writer, r)
		err = nil
	}
	if err == nil && noKeeper {
		return exitError(exitDegraded)
	}
	return err
}

// ask asks the keeper for its report.
func ask(c *cli.Context) (control.Report, error) {
	ctx, cancel := context.WithTimeout(c.Context, statusLimit)
	defer cancel()
	conn, err := control.Dial(ctx, runDir(c))
	if err != nil {
		return control.Report{}, err
	}
	defer conn.Close()
	var r control.Report
	if err := conn.Ask(ctx, control.Request{Op: control.OpStatus}, &r); err != nil {
		return r, err
	}
	return r, sane(r)
}

// sane distinguishes a keeper's report from other JSON.
func sane(r control.Report) error {
	if r.PID <= 0 {
		return &control.GarbageError{Line: []byte("a report without the keeper's process id"), Err: errors.New("not a status")}
	}
	return nil
}

// look is the report that can be made without a keeper.
func look(c *cli.Context) control.Report {
	o, stop, err := assemble(c, slog.New(slog.DiscardHandler))
	defer stop()
	var r control.Report
	if o.Network != nil {
		r = keeper.Look(c.Context, o)
	}
	r.Version = c.App.Version
	if err != nil {
		r.Warnings = append(r.Warnings, err.Error())
	}
	r.Warnings = append(r.Warnings, "no keeper is running: nothing follows keepalived or renews the lease until the next hook; "+
		"start the service, or `wanfail keeper` under a supervisor")
	return r
}

// printJSON is the form of docs/status.md; indent "" puts it on one line.
func printJSON(w io.Writer, r control.Report, indent string) error {
	r.Schema = control.ReportSchema
	enc := json.NewEncoder(w)
	enc.SetIndent("", indent)
	return enc.Encode(r)
}
