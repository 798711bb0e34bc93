package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/demo"
)

// pictures draws what the README shows into a folder: the demo's last screen, and
// the status of a router that has taken over.
func pictures(ctx context.Context, folder string) error {
	o := lab.Options{Advert: 100 * time.Millisecond, Conntrackd: true}
	var screen bytes.Buffer
	if _, err := demo.Run(ctx, &screen, demo.Style{Colour: true, Width: 80}, true, o, lab.Crash, 20); err != nil {
		return err
	}
	status, err := statusScreen(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(
		draw(filepath.Join(folder, "demo.svg"), "make demo: one router loses its power", screen.String()),
		draw(filepath.Join(folder, "status.svg"), "wanfail status --watch", status))
}

// statusScreen is what a person sees on the router that took over and has been
// primary for a moment.
func statusScreen(ctx context.Context, o lab.Options) (text string, err error) {
	l, err := lab.New(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r := l.Router(1)
	if _, err := r.Run(ctx, "sysctl", "--quiet", "net.ipv6.conf.eth2.disable_ipv6=1"); err != nil { // as docs/debian.md has it
		return "", err
	}
	// As the guides have it.
	if _, err := r.Run(ctx, "systemctl", "enable", "keepalived"); err != nil {
		return "", err
	}
	if err := l.Elect(ctx); err != nil {
		return "", err
	}
	if err := l.Router(0).Crash(); err != nil {
		return "", err
	}
	if err := errors.Join(r.WaitWAN(ctx), r.WaitServices(ctx, true)); err != nil {
		return "", err
	}
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Second): // something is to be seen of the lease and the gateway
	}
	// script(1) makes the terminal that the colours need.
	return r.Run(ctx, "script", "--quiet", "--return", "--command", "stty cols 80; TERM=linux wanfail status", "/dev/null")
}

func draw(file, title, text string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := demo.SVG(f, title, text); err != nil {
		return errors.Join(fmt.Errorf("draw %s: %w", file, err), f.Close())
	}
	return f.Close()
}
