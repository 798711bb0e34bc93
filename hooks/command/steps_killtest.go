//go:build killtest

package command

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// instrument makes a program that kills itself where a test wants it to: with
// WANFAIL_KILL_<WHO>=N in the environment at its Nth step, by SIGKILL. With
// WANFAIL_STEPS_<WHO>=FILE it adds the names of its steps to the file.
//
// Steps are those of the keeper and the hook (Step), and each line that would be
// logged at any level: netif logs after each write to the kernel, dhcp after each
// packet.
func instrument(log *slog.Logger, who string) (*slog.Logger, func(string)) {
	s := &steps{}
	s.kill, _ = strconv.Atoi(os.Getenv("WANFAIL_KILL_" + who))
	if path := os.Getenv("WANFAIL_STEPS_" + who); path != "" {
		s.list, _ = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	}
	return slog.New(&stepLog{log.Handler(), s}), s.step
}

type steps struct {
	kill int
	list *os.File

	mu sync.Mutex
	n  int
}

func (s *steps) step(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.list != nil {
		fmt.Fprintln(s.list, name)
	}
	if s.n == s.kill {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

// stepLog counts lines as steps.
type stepLog struct {
	slog.Handler
	s *steps
}

// Enabled implements slog.Handler.
func (*stepLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *stepLog) Handle(ctx context.Context, r slog.Record) error {
	l.s.step("log: " + r.Message)
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l *stepLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &stepLog{l.Handler.WithAttrs(attrs), l.s}
}

// WithGroup implements slog.Handler.
func (l *stepLog) WithGroup(name string) slog.Handler {
	return &stepLog{l.Handler.WithGroup(name), l.s}
}
