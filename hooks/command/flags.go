package command

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/journal"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// logger is for the short-lived commands, whose stderr a person reads; the keeper
// logs where its supervisor reads it.
func logger(c *cli.Context) *slog.Logger { return journal.Syslog(level(c)) }

// level is valid: Before has checked it.
func level(c *cli.Context) (l slog.Level) {
	_ = l.UnmarshalText([]byte(c.String("log-level")))
	return l
}

// checkFlags refuses values of global flags that no command could use.
func checkFlags(c *cli.Context) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return &usageError{fmt.Sprintf("--log-level %q: want debug, info, warn or error", c.String("log-level"))}
	}
	return nil
}

// runDir is the run directory of this call.
func runDir(c *cli.Context) rundir.Dir { return rundir.At(c.String("run-dir")) }

// owner is whose links this call is about: the run directory tells one wanfail from
// another, and the usual one is nobody in particular.
func owner(c *cli.Context) string {
	dir, usual := resolved(runDir(c).String()), resolved(defaultRunDir())
	if dir == usual {
		return ""
	}
	return dir
}

// resolved follows the links on the way to a directory, which need not exist yet.
func resolved(path string) string {
	if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(parent, filepath.Base(path))
	}
	return path
}

// defaultRunDir is on a tmpfs on both platforms.
func defaultRunDir() string {
	if info, err := os.Stat("/run"); err == nil && info.IsDir() {
		return "/run/wanfail"
	}
	return "/var/run/wanfail" // OpenWrt
}

// usualUmask replaces keepalived's umask, 0177, and none at all: what a keeper
// that a hook has started runs in turn, init scripts and user scripts, expects the
// usual one. One that an administrator or a unit has chosen stays.
func usualUmask() {
	if old := unix.Umask(0o022); old != 0 && old&0o700 == 0 {
		unix.Umask(old)
	}
}
