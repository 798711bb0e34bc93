package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// Terminal finds out what out can do. NO_COLOR (no-color.org) is respected.
func Terminal(out *os.File) (style Style, live bool) {
	size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	if err != nil || os.Getenv("TERM") == "dumb" {
		return Style{Width: 80}, false
	}
	// Too low a terminal would scroll with each redraw.
	live = int(size.Row) > eventLines+14
	return Style{Width: int(size.Col), Colour: os.Getenv("NO_COLOR") == ""}, live
}

// Run shows a scenario in a new lab.
func Run(ctx context.Context, out io.Writer, style Style, live bool, o lab.Options, sc lab.Scenario, sessions int) (*lab.Report, error) {
	services := o.Services
	if services == nil {
		services = []string{"dnsmasq", "miniupnpd"}
	}
	m := NewModel(services)
	title := fmt.Sprintf("%s: %s", map[bool]string{true: "wanfail", false: "primary-backup.sh"}[o.Scheme == "" || o.Scheme == lab.Wanfail], sc)
	show := plain
	if live {
		show = screen
	}
	drawing, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- show(drawing, out, style, title, m) }()
	report, used, err := run(ctx, m, o, sc, sessions)
	stop()
	if err = errors.Join(err, <-done); err != nil {
		return nil, err
	}
	_, err = io.WriteString(out, style.Summary(used, report))
	return report, err
}

func run(ctx context.Context, m *Model, o lab.Options, sc lab.Scenario, sessions int) (_ *lab.Report, used lab.Options, err error) {
	m.Tell("an ISP, two routers, a LAN and an internet host boot")
	l, err := lab.New(ctx, o)
	if err != nil {
		return nil, o, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	tl, err := l.Timeline()
	if err != nil {
		return nil, o, err
	}
	tl.OnEvent(m.Event)
	r, err := l.Run(ctx, sc, tl, lab.RunOptions{
		Sessions: sessions, Beat: m.Beat, Tell: m.Tell, Settle: 5 * time.Second, Linger: 1500 * time.Millisecond, Finish: m.Finish,
	})
	return r, l.Options(), errors.Join(err, tl.Close())
}

// frameTime limits redrawing.
const frameTime = 40 * time.Millisecond

// screen draws the model over and over in the same place, until ctx ends.
func screen(ctx context.Context, out io.Writer, style Style, title string, m *Model) error {
	height := 0
	draw := func() error {
		var b strings.Builder
		if height > 0 {
			fmt.Fprintf(&b, "\x1b[%dA", height)
		}
		lines := style.Draw(title, m.Picture(time.Now()))
		for _, l := range lines {
			b.WriteString("\r" + l + "\x1b[K\n")
		}
		height = len(lines)
		_, err := io.WriteString(out, b.String())
		return err
	}
	if _, err := io.WriteString(out, "\x1b[?25l"); err != nil { // no cursor
		return err
	}
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	err := draw()
	for err == nil && ctx.Err() == nil {
		select {
		case <-tick.C:
			err = draw()
		case <-ctx.Done():
		}
	}
	_, e := io.WriteString(out, "\x1b[?25h")
	return errors.Join(err, e)
}

// plain prints each line once, in the order of the events.
func plain(ctx context.Context, out io.Writer, style Style, title string, m *Model) error {
	if _, err := fmt.Fprintln(out, title); err != nil {
		return err
	}
	printed := 0
	var trigger time.Time
	// Events are sorted while they come in, from sources that are apart by
	// moments: what is older than that stays where it is.
	const settled = 100 * time.Millisecond
	flush := func(until time.Time) error {
		p := m.Picture(time.Now())
		if p.Trigger != trigger {
			trigger, printed = p.Trigger, 0
		}
		for ; printed < len(p.Lines) && !p.Lines[printed].At.After(until); printed++ {
			if _, err := fmt.Fprintln(out, style.Line(p.Lines[printed], trigger)); err != nil {
				return err
			}
		}
		return nil
	}
	tick := time.NewTicker(settled)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := flush(time.Now().Add(-settled)); err != nil {
				return err
			}
		case <-ctx.Done():
			return flush(time.Now())
		}
	}
}
