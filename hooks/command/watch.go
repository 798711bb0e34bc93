package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// Control sequences of xterm, which all terminals of the last decades know:
// the alternate screen keeps what was there before.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // and hide the cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// watch follows the keeper until ctx ends, even if the keeper ends.
func watch(c *cli.Context) error {
	reports := make(chan control.Report)
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- follow(ctx, c, reports) }()
	if t := terminal(c); t != nil && !c.Bool("json") {
		return paint(c, t, reports, ended)
	}
	first := true
	for {
		select {
		case r := <-reports:
			if c.Bool("json") {
				if err := printJSON(c.App.Writer, r, ""); err != nil {
					return err
				}
				continue
			}
			if !first {
				if _, err := fmt.Fprintf(c.App.Writer, "\n%s\n", strings.Repeat("-", 80)); err != nil {
					return err // the reader has closed the output
				}
			}
			first = false
			screen(c).Report(c.App.Writer, r)
		case err := <-ended:
			return err
		}
	}
}

// follow sends the keeper's reports as they come. While no keeper runs it sends
// a report made without it, once, and waits for one to appear. nil: ctx ended.
func follow(ctx context.Context, c *cli.Context, reports chan<- control.Report) error {
	send := func(r control.Report) {
		select {
		case reports <- r:
		case <-ctx.Done():
		}
	}
	for {
		err := followOne(ctx, c, send)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, control.ErrNoKeeper):
			return notAllowed(err)
		}
		send(look(c))
		if err := awaitKeeper(ctx, runDir(c)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// followOne follows one keeper to its end, which is no error.
func followOne(ctx context.Context, c *cli.Context, send func(control.Report)) error {
	conn, err := control.Dial(ctx, runDir(c))
	if err != nil {
		return err
	}
	defer conn.Close()
	var r control.Report
	for err = conn.Ask(ctx, control.Request{Op: control.OpWatch}, &r); err == nil; err = conn.Next(ctx, &r) {
		if err := sane(r); err != nil {
			return err
		}
		send(r)
		r = control.Report{} // a field that the next one omits must not keep its value
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// awaitKeeper returns when a keeper listens in dir.
func awaitKeeper(ctx context.Context, dir rundir.Dir) error {
	w, err := rundir.WatchDir(dir.String(), rundir.SocketFile)
	if err != nil {
		return fmt.Errorf("no keeper has run here yet: %w", err)
	}
	defer w.Close()
	for {
		conn, err := control.Dial(ctx, dir)
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, control.ErrNoKeeper) {
			return err
		}
		if err := w.Wait(ctx); err != nil {
			return err
		}
	}
}

// paint shows the newest report on a screen of its own, and leaves the terminal
// as it was. What changes with time alone is counted on here; the keeper is not
// asked again for that.
func paint(c *cli.Context, t *os.File, reports <-chan control.Report, ended <-chan error) error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	clock := time.NewTicker(time.Second)
	defer clock.Stop()

	if _, err := t.WriteString(enterScreen); err != nil {
		return err
	}
	defer func() { _, _ = t.WriteString(leaveScreen) }()
	var r control.Report
	var at time.Time
	for {
		select {
		case r = <-reports:
			at = time.Now()
		case <-resized:
		case <-clock.C:
		case err := <-ended:
			return err
		}
		if at.IsZero() {
			continue
		}
		var b bytes.Buffer
		page := screen(c)
		// Somebody may set the clock meanwhile: count on from the report's arrival.
		page.Now = at.Add(time.Since(at))
		page.Report(&b, aged(r, time.Since(at)))
		_, rows := size(t)
		if _, err := t.WriteString(frame(b.String(), rows)); err != nil {
			return err
		}
	}
}

// frame is text for a screen of so many rows, drawn over the one before without
// flicker. Each row is erased before it is written: after a row as wide as the
// screen the cursor still stands on its last character.
func frame(text string, rows int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > rows {
		lines = append(lines[:rows-1:rows-1], "(more: enlarge the terminal)")
	}
	last := len(lines) - 1
	var b strings.Builder
	b.WriteString(home)
	for _, line := range lines[:last] {
		b.WriteString(eraseLine + line + "\r\n")
	}
	return b.String() + eraseBelow + lines[last]
}

// aged is a report some time later, when nothing has changed but the time.
func aged(r control.Report, d time.Duration) control.Report {
	s := int64(d / time.Second)
	wans := make([]control.WAN, 0, len(r.WANs))
	for _, n := range r.WANs {
		if n.LeaseSeconds > 0 {
			n.LeaseSeconds = max(0, n.LeaseSeconds-s)
		}
		n.RenewSeconds = max(0, n.RenewSeconds-s)
		wans = append(wans, n)
	}
	r.WANs = wans
	return r
}
