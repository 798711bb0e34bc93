package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/view"
)

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
