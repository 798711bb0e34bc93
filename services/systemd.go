//go:build !nosystemd

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	bus "github.com/wanfail/wanfail/services/systemd"
)

// systemd drives services as systemd's units. It connects when it is first needed
// and again whenever the connection broke.
type systemd struct {
	socket string
	log    *slog.Logger

	dialing chan struct{} // holds a token: one dials, the others wait for the outcome

	mu     sync.Mutex
	conn   *bus.Conn
	closed bool
}

func newSystemd(socket string, log *slog.Logger) *systemd {
	return &systemd{socket: socket, log: log, dialing: make(chan struct{}, 1)}
}

// Backend is "systemd".
func (s *systemd) Backend() string { return "systemd" }

var errClosed = errors.New("the service manager's connection was closed")

// Close ends the connection; calls under way fail.
func (s *systemd) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	return nil
}

// Installed reports whether the unit exists and is not masked.
func (s *systemd) Installed(ctx context.Context, name string) (bool, error) {
	u, err := s.find(ctx, name)
	if err != nil {
		return false, err
	}
	return u.LoadState != "not-found" && u.LoadState != "masked", nil
}

// State asks for the unit's state: one call, well under a millisecond.
func (s *systemd) State(ctx context.Context, name string) (State, error) {
	u, err := s.find(ctx, name)
	if err != nil {
		return Stopped, err
	}
	state := u.state()
	if u.LoadState == "not-found" && state == Stopped { // it may run with its file gone
		return Stopped, notInstalled(u.Name, "no such unit")
	}
	return state, nil
}

// Start starts the unit. A unit that failed, or that was started too often of
// late, gets a clean slate first: a router that fails over five times in ten
// seconds must not be refused its services (StartLimitBurst).
func (s *systemd) Start(ctx context.Context, name string) error {
	return s.reach(ctx, name, Running, func(b *bus.Conn, u unit) (string, error) {
		if err := u.startable(); err != nil {
			return "", err
		}
		// It fails for a unit that is not loaded, which has nothing to reset.
		if err := b.Check(ctx, b.ResetFailed(ctx, u.Name)); errors.Is(err, bus.ErrLost) {
			return "", err
		}
		if u.waitsForRestart() {
			// A start job would wait for the end of the pause.
			return b.Job(ctx, b.Restart, u.Name)
		}
		return b.Job(ctx, b.Start, u.Name)
	})
}

// Stop stops the unit, or cancels its queued start.
func (s *systemd) Stop(ctx context.Context, name string) error {
	return s.reach(ctx, name, Stopped, func(b *bus.Conn, u unit) (string, error) {
		return b.Job(ctx, b.Stop, u.Name)
	})
}

// reach runs act unless the unit is as wanted, and then looks whether it is. A
// connection lost meanwhile says nothing about the outcome, so then it begins
// anew: jobs survive a daemon-reexec, and a second request joins the first.
func (s *systemd) reach(ctx context.Context, name string, want State, act func(*bus.Conn, unit) (string, error)) error {
	for {
		u, err := s.find(ctx, name)
		if err != nil || u.state() == want {
			return err
		}
		b, err := s.connected(ctx)
		if err != nil {
			return err
		}
		result, err := act(b, u)
		if errors.Is(err, bus.ErrLost) {
			if err := reconnectPause(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return explain(u.Name, err)
		}
		if u, err = s.find(ctx, name); err == nil && want == Running && u.state() == Running {
			u, err = s.steady(ctx, name, u)
		}
		if err != nil || u.state() == want {
			return err
		}
		return s.failure(ctx, u, result)
	}
}

// steady looks once more at a service that has just been started, if systemd takes
// it for started as soon as its program runs (Type=simple or exec,
// systemd.service(5)): one that dies of its configuration has not.
func (s *systemd) steady(ctx context.Context, name string, u unit) (unit, error) {
	b, err := s.connected(ctx)
	if err != nil {
		return u, err
	}
	if kind := property(ctx, b, u.Name, "Service", "Type"); kind != "simple" && kind != "exec" {
		return u, nil
	}
	select {
	case <-time.After(steady):
	case <-ctx.Done():
		return u, context.Cause(ctx)
	}
	return s.find(ctx, name)
}

// failure describes a unit that is not as wanted although its job has ended.
func (s *systemd) failure(ctx context.Context, u unit, result string) error {
	if result == "canceled" {
		return fmt.Errorf("%s is %s (%s): somebody else's request replaced ours, which is tried again", u.Name, u.ActiveState, u.SubState)
	}
	why := ""
	if b, err := s.connected(ctx); err == nil {
		get := func(kind, name string) any { return property(ctx, b, u.Name, kind, name) }
		if met, ok := get("Unit", "ConditionResult").(bool); ok && !met && result == "done" {
			why = ", a condition of the unit is not met"
		} else if r, ok := get("Service", "Result").(string); ok && r != "success" {
			status, _ := get("Service", "ExecMainStatus").(int32)
			why = ", " + r
			switch {
			case r != "exit-code":
			case status != 0:
				why += fmt.Sprintf(" %d", status)
			default: // not the daemon itself
				for _, setting := range []string{"ExecStartPre", "ExecStartPost"} {
					why += failedCommand(setting, get("Service", setting))
				}
			}
		}
	}
	return fmt.Errorf("%s is %s (%s%s), its job ended as %q: see `journalctl -u %s`",
		u.Name, u.ActiveState, u.SubState, why, result, u.Name)
}

// property asks for one property of a unit's interface of the given kind, as
// "Service"; nil if there is no such thing.
func property(ctx context.Context, b *bus.Conn, id, kind, name string) any {
	p, err := b.Property(ctx, id, kind, name)
	if err != nil {
		return nil
	}
	return p.Value.Value()
}

// failedCommand describes the first of a setting's commands that exited with
// an error, "" if none did. commands is the property of that name, an array of
// (path, arguments, ignore, four timestamps, pid, code, status).
func failedCommand(setting string, commands any) string {
	const code, status, fields, exited = 8, 9, 10, 1 // exited: CLD_EXITED of waitid(2)
	all, _ := commands.([][]any)
	for _, c := range all {
		if len(c) != fields {
			continue
		}
		path, _ := c[0].(string)
		ignore, _ := c[2].(bool)
		how, _ := c[code].(int32)
		n, _ := c[status].(int32)
		if n != 0 && how == exited && !ignore {
			return fmt.Sprintf(" %d of %s %s", n, setting, path)
		}
	}
	return ""
}

// explain puts the unit's name and, for the errors that people meet, advice to
// what systemd answered.
func explain(id string, err error) error {
	var answer dbus.Error
	if errors.As(err, &answer) {
		switch answer.Name {
		case "org.freedesktop.systemd1.NoSuchUnit":
			return notInstalled(id, "no such unit")
		case "org.freedesktop.systemd1.UnitMasked":
			return unit{Name: id, LoadState: "masked"}.startable()
		case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
			return fmt.Errorf("systemd does not let us manage %s (wanfail runs as uid %d): %w", id, os.Geteuid(), err)
		}
	}
	return fmt.Errorf("%s: %w", id, err)
}

// find asks for one unit, which loads it if need be.
func (s *systemd) find(ctx context.Context, name string) (unit, error) {
	id, err := unitName(name)
	if err != nil {
		return unit{}, err
	}
	for {
		b, err := s.connected(ctx)
		if err != nil {
			return unit{}, err
		}
		units, err := units(ctx, b, id)
		switch {
		case errors.Is(err, bus.ErrLost):
			if err := reconnectPause(ctx); err != nil {
				return unit{}, err
			}
			continue
		case err != nil:
			return unit{}, explain(id, err)
		case len(units) != 1:
			return unit{}, fmt.Errorf("%s is not a name that systemd takes", id)
		}
		return units[0], nil
	}
}

// reconnectPause limits how often a systemd that drops every connection is called.
func reconnectPause(ctx context.Context) error {
	select {
	case <-time.After(10 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func units(ctx context.Context, b *bus.Conn, id string) (all []unit, err error) {
	found, err := b.Units(ctx, []string{id})
	for _, u := range found {
		all = append(all, unit(u))
	}
	return all, b.Check(ctx, err)
}

// reconnectLimit is how long systemd may be out of reach before that is an error.
// A daemon-reexec takes well under a second.
const reconnectLimit = 5 * time.Second

// connected returns a connection that works, as far as is known.
func (s *systemd) connected(ctx context.Context) (*bus.Conn, error) {
	select {
	case s.dialing <- struct{}{}:
		defer func() { <-s.dialing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	b, closed := s.conn, s.closed
	s.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if b != nil && b.Connected() {
		return b, nil
	}
	start := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		b, err := bus.Dial(ctx, s.socket)
		if err == nil {
			return s.adopt(b)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err = fmt.Errorf("reach systemd: %w", err)
		// While it executes itself anew there is no socket, or one without a reader.
		passing := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNRESET)
		if !passing || time.Since(start) > reconnectLimit {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (s *systemd) adopt(b *bus.Conn) (*bus.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		b.Close()
		return nil, errClosed
	}
	s.conn = b
	return b, nil
}
