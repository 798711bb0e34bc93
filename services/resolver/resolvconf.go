package resolver

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/wanfail/wanfail/services/command"
)

// resolvconf is the program of that name, Debian's or openresolv. Both take a
// record named INTERFACE.PROGRAM, and do nothing when it has not changed.
type resolvconf struct {
	dirs []string // where it may be
	// unit, where it is given and exists, is systemd-run: what other packages hook
	// into resolvconf writes to their own folders, as their users, which is more
	// than the service of a keeper may do.
	unit string
}

func (resolvconf) String() string { return "resolvconf" }

func (r resolvconf) usable(context.Context) bool { return r.find() != "" }

// find returns the program's path, or "". systemd-resolved installs its resolvectl
// under this name, which is of no use when resolved does not run.
func (r resolvconf) find() string {
	for _, dir := range r.dirs {
		path := filepath.Join(dir, "resolvconf")
		target, err := filepath.EvalSymlinks(path)
		if err != nil || filepath.Base(target) == "resolvectl" {
			continue
		}
		if info, err := os.Stat(target); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func (r resolvconf) set(ctx context.Context, link string, servers []netip.Addr, search []string) error {
	return r.run(ctx, text(servers, search), "-a", record(link))
}

func (r resolvconf) revert(ctx context.Context, link string) error {
	return r.run(ctx, "", "-d", record(link))
}

func record(link string) string { return link + ".wanfail" }

func (r resolvconf) run(ctx context.Context, stdin string, args ...string) error {
	cmd := command.Command{Path: r.find(), Args: args, Stdin: stdin}
	if r.unit != "" {
		if _, err := os.Stat(r.unit); err == nil {
			cmd.Args = append([]string{"--quiet", "--pipe", "--wait", "--collect", "--property=RuntimeMaxSec=10", "--", cmd.Path}, args...)
			cmd.Path = r.unit
		}
	}
	out, err := cmd.Run(ctx)
	if err != nil && out != "" {
		return &said{err, out}
	}
	return err
}

// said is an error with what the program printed.
type said struct {
	error
	out string
}

func (s *said) Error() string { return s.error.Error() + command.Quote(s.out) }
func (s *said) Unwrap() error { return s.error }
