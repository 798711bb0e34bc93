package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/wanfail/wanfail/services/command"
)

// InitDir is where the init scripts of both platforms are.
const InitDir = "/etc/init.d"

// Init drives services by their init scripts.
//
// No event tells when a script's daemon is up or gone: rc.common returns when procd
// has forked or signalled the process (its stop is SIGTERM, and SIGKILL after 5 s),
// an LSB script when it likes, and procd publishes state changes only to
// subscribers on ubus, for which the system has no library here. So after a verb
// the state is asked for again and again, soon at first and then less often. That
// somebody else has run a script is an event, though (Watch).
type Init struct {
	dir  string
	ubus string
	log  *slog.Logger
	// How long after a verb has returned its effect may take to show.
	startSettle, stopSettle time.Duration
	own                     ownRuns
}

// NewInit returns a manager of the scripts in dir, usually InitDir.
func NewInit(dir string, log *slog.Logger) *Init {
	// Whoever started us may have left descriptors open without close-on-exec; a
	// daemon that inherits one holds it for as long as it lives.
	if err := command.CloseOnExec(); err != nil {
		log.Warn("daemons may inherit open files", "error", err)
	}
	return &Init{
		dir: dir, ubus: ubusPath, log: log, startSettle: 3 * time.Second, stopSettle: 10 * time.Second,
		own: ownRuns{running: map[string]int{}, watchers: map[*scriptWatch]struct{}{}},
	}
}

// Backend is "init".
func (m *Init) Backend() string { return "init" }

// Close does nothing: between calls nothing is held.
func (m *Init) Close() error { return nil }

// Installed reports whether there is an executable script of that name.
func (m *Init) Installed(_ context.Context, name string) (bool, error) {
	_, err := m.script(name)
	if errors.Is(err, ErrNotInstalled) {
		return false, nil
	}
	return err == nil, err
}

// State runs the script's verb for it, which takes some 10 ms.
func (m *Init) State(ctx context.Context, name string) (State, error) {
	s, err := m.script(name)
	if err != nil {
		return Stopped, err
	}
	state, _, err := s.state(ctx)
	return state, err
}

// Start runs `start` unless the service runs.
func (m *Init) Start(ctx context.Context, name string) error {
	return m.reach(ctx, name, "start", Running, m.startSettle)
}

// Stop runs `stop` unless the service is stopped.
func (m *Init) Stop(ctx context.Context, name string) error {
	return m.reach(ctx, name, "stop", Stopped, m.stopSettle)
}

func (m *Init) reach(ctx context.Context, name, verb string, want State, settle time.Duration) error {
	s, err := m.script(name)
	if err != nil {
		return err
	}
	if state, _, err := s.state(ctx); err != nil || state == want {
		return err
	}
	// The exit code is kept for the message only: rc.common's start returns 0 with
	// the binary missing, and LSB scripts return 1 for "was running already".
	out, verbErr := s.run(ctx, verb)
	if ctx.Err() != nil {
		return verbErr
	}
	m.log.Debug("ran init script", "script", s.path, "verb", verb, "error", verbErr)
	if err := s.await(ctx, want, settle); err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w%s", s.path, verb, err, command.Quote(out)), verbErr)
	}
	return nil
}

// steady is how long a started service must have been running to be believed. A
// daemon whose binary is missing or whose configuration is wrong is alive too,
// for the moment between fork and exec or until it has read its configuration.
const steady = 20 * time.Millisecond

// await polls until the service is as wanted, at most for settle.
func (s script) await(ctx context.Context, want State, settle time.Duration) error {
	const first, longest = 10 * time.Millisecond, 500 * time.Millisecond
	deadline := time.Now().Add(settle)
	timer := time.NewTimer(0)
	defer timer.Stop()
	seen := false
	for pause := first; ; pause = min(2*pause, longest) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		state, idle, err := s.state(ctx)
		if err != nil {
			return err
		}
		switch {
		case idle && want == Running: // rc.common's start tells procd before it returns
			return ErrOff
		case state == want && (seen || want == Stopped):
			return nil
		case state == want:
			seen = true
			timer.Reset(steady)
			continue
		case time.Now().After(deadline):
			return fmt.Errorf("still %s %v later: its own log may say why", state, settle)
		}
		seen = false
		timer.Reset(pause)
	}
}

// script finds the script of a service.
func (m *Init) script(name string) (script, error) {
	if err := ValidName(name); err != nil {
		return script{}, err
	}
	path := filepath.Join(m.dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return script{}, notInstalled(name, "no "+path)
	}
	if err != nil {
		return script{}, fmt.Errorf("find init script: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return script{}, fmt.Errorf("%s is no executable file", path)
	}
	defer m.own.begin(name)()
	s, err := readScript(path)
	s.begin = func() func() { return m.own.begin(name) }
	return s, err
}
