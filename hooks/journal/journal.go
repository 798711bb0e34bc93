// Package journal sends log lines to where the people of each platform look for
// them: the terminal, the journal, or syslog.
package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// New returns a logger that writes to stderr where a person or a supervisor
// reads it (a terminal, or a pipe to the journal), and else to syslog: what
// keepalived starts has /dev/null there.
func New(level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	switch {
	case isJournal(os.Stderr, os.Getenv("JOURNAL_STREAM")):
		return slog.New(NewHandler(prefixed{os.Stderr}, options))
	case Discarded(os.Stderr):
		return Syslog(level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// isJournal reports whether f is the stream, "DEVICE:INODE", that systemd has
// connected with the journal (systemd.exec(5), $JOURNAL_STREAM). The variable
// alone is no proof: it is inherited, and f may have been replaced.
func isJournal(f *os.File, stream string) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// Syslog returns a logger that writes to syslog, which is the journal where
// systemd runs, and to stderr where there is no syslog.
func Syslog(level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	return slog.New(NewHandler(&lazy{}, options))
}

// lazy dials syslog with the first line: most short-lived commands log nothing.
type lazy struct {
	once sync.Once
	out  Severities
}

func (l *lazy) writer() Severities {
	l.once.Do(func() {
		if w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "wanfail"); err == nil {
			l.out = w
		} else {
			l.out = plain{os.Stderr}
		}
	})
	return l.out
}

func (l *lazy) Debug(m string) error   { return l.writer().Debug(m) }
func (l *lazy) Info(m string) error    { return l.writer().Info(m) }
func (l *lazy) Warning(m string) error { return l.writer().Warning(m) }
func (l *lazy) Err(m string) error     { return l.writer().Err(m) }

// plain writes lines without a severity.
type plain struct{ w io.Writer }

func (p plain) Debug(m string) error   { return p.line(m) }
func (p plain) Info(m string) error    { return p.line(m) }
func (p plain) Warning(m string) error { return p.line(m) }
func (p plain) Err(m string) error     { return p.line(m) }

func (p plain) line(m string) error {
	_, err := io.WriteString(p.w, m)
	return err
}

// prefixed puts each line's severity before it as the journal wants it
// (sd-daemon(3)), in the numbers of syslog(3).
type prefixed struct{ w io.Writer }

func (p prefixed) Debug(m string) error   { return plain(p).line("<7>" + m) }
func (p prefixed) Info(m string) error    { return plain(p).line("<6>" + m) }
func (p prefixed) Warning(m string) error { return plain(p).line("<4>" + m) }
func (p prefixed) Err(m string) error     { return plain(p).line("<3>" + m) }

// Discarded reports whether f is /dev/null or closed.
func Discarded(f *os.File) bool {
	var st, null unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return true
	}
	return unix.Stat("/dev/null", &null) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == null.Rdev
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Severities is the part of a syslog.Writer that a Handler uses.
type Severities interface {
	Debug(m string) error
	Info(m string) error
	Warning(m string) error
	Err(m string) error
}

// Handler is a slog.Handler that writes key=value lines with syslog's severity.
type Handler struct {
	out  Severities
	text slog.Handler
	line *line // shared by all that With made
}

// line is what text writes to; the lock covers both.
type line struct {
	sync.Mutex
	bytes.Buffer
}

// NewHandler returns a Handler that writes to out.
func NewHandler(out Severities, o *slog.HandlerOptions) *Handler {
	l := &line{}
	opts := *o
	opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.LevelKey {
			return slog.Attr{} // said by the severity
		}
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{} // they have their own
		}
		return a
	}
	return &Handler{out: out, text: slog.NewTextHandler(io.Writer(&l.Buffer), &opts), line: l}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.text.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	h.line.Lock()
	defer h.line.Unlock()
	h.line.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	text := h.line.String()
	switch {
	case r.Level >= slog.LevelError:
		return h.out.Err(text)
	case r.Level >= slog.LevelWarn:
		return h.out.Warning(text)
	case r.Level >= slog.LevelInfo:
		return h.out.Info(text)
	}
	return h.out.Debug(text)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{out: h.out, text: h.text.WithAttrs(attrs), line: h.line}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{out: h.out, text: h.text.WithGroup(name), line: h.line}
}
