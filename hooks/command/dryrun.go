package command

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/userhooks"
)

// printDryRun prints what a role would change, and changes nothing.
func printDryRun(c *cli.Context, role intent.Role) error {
	o, stop, err := assemble(c, slog.New(slog.DiscardHandler))
	defer stop()
	if err != nil {
		return err
	}
	r := keeper.DryRun(c.Context, o, role)
	for _, d := range disputes(c, intent.Intent{Role: role, Owner: intent.Keepalived()}) {
		r.Problems = append(r.Problems, d.Says())
	}
	conn, err := control.Dial(c.Context, o.RunDir)
	if err == nil {
		_ = conn.Close()
	}
	switch {
	case errors.Is(err, control.ErrNoKeeper):
		if role == intent.Primary {
			r.Steps = append([]string{"start a keeper"}, r.Steps...)
		}
	case err != nil:
		r.Problems = append(r.Problems, err.Error())
	}
	scripts, err := userhooks.New(userhooks.Dir, o.RunDir.Scripts(), o.Log).Names()
	if err != nil {
		r.Problems = append(r.Problems, "user scripts: "+err.Error())
	}
	if len(scripts) > 0 && len(r.Events) > 0 {
		r.Steps = append(r.Steps, fmt.Sprintf("run user scripts %s: %s", strings.Join(scripts, ", "), strings.Join(r.Events, ", ")))
	}
	if len(r.Steps) == 0 {
		fmt.Fprintf(c.App.Writer, "%s: nothing to change\n", role)
	} else {
		fmt.Fprintf(c.App.Writer, "%s would:\n", role)
	}
	for _, step := range r.Steps {
		fmt.Fprintln(c.App.Writer, "  "+step)
	}
	for _, problem := range r.Problems {
		fmt.Fprintln(c.App.Writer, "  problem: "+problem)
	}
	if len(r.Problems) > 0 {
		return exitError(exitDegraded)
	}
	return nil
}
