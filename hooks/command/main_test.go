package command_test

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wanfail/wanfail/hooks/command"
	"github.com/wanfail/wanfail/lab/nstest"
)

// TestMain is the program itself where the test binary runs under its name, which
// is how scripts, hooks and keepers start it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "wanfail" {
		nstest.Main(m)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := command.Run(ctx, "test", os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// TestScripts runs each script on a router of its own: a network namespace with
// the port eth2, whose other end is where an ISP would be.
func TestScripts(t *testing.T) {
	bin := install(t)
	log := startSyslog(t)
	coverHooks(t)
	coverConntrackd(t)
	coverInit(t)
	root := "/run/scripts"
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		WorkdirRoot: root,
		Dir:         "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			e.Setenv("WANFAIL_NSTEST_INSIDE", "1")
			examples, err := filepath.Abs("../../packaging/keepalived")
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			r := newRouter(t, e, filepath.Join(bin, "wanfail"), log)
			e.Values[routerKey{}] = r
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"wanfail":      on((*router).cmdWanfail),
			"as-nobody":    on((*router).cmdAsNobody),
			"keeper":       on((*router).cmdKeeper),
			"garbage":      on((*router).cmdGarbage),
			"ip":           on((*router).cmdIP),
			"unchanged":    on((*router).cmdUnchanged),
			"monitor":      on((*router).cmdMonitor),
			"tmpfs":        on((*router).cmdTmpfs),
			"readonly":     on((*router).cmdReadonly),
			"frames":       on((*router).cmdFrames),
			"quick":        on((*router).cmdQuick),
			"syslog":       on((*router).cmdSyslog),
			"await":        on((*router).cmdAwait),
			"watch-screen": on((*router).cmdWatchScreen),
			"watch":        on((*router).cmdWatch),
			"seen":         on((*router).cmdSeen),
			"heard":        on((*router).cmdHeard),
			"asked":        on((*router).cmdAsked),
			"flock":        on((*router).cmdFlock),
			"keepalived":   on((*router).cmdKeepalived),
			"killkeeper":   on((*router).cmdKillKeeper),
		},
	})
}
