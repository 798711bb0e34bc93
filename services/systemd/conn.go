//go:build !nosystemd

package systemd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// PrivateSocket is where systemd takes root's calls without the message bus, as
// systemctl does: it works before dbus-daemon runs, and while that is restarted.
// On this socket systemd sends every signal to everybody, with no subscription.
const PrivateSocket = "/run/systemd/private"

// ErrLost tells that the connection broke, with what was asked for done or not.
var ErrLost = errors.New("connection to systemd lost")

// Conn is one connection to systemd. When it breaks (daemon-reexec closes it) it
// is done for.
//
// Of go-systemd's connection it has the methods that the program uses, each as a
// function: the linker keeps every method of a type that may be reached by
// reflection, and go-systemd has eighty.
type Conn struct {
	Start, Stop, Restart func(ctx context.Context, unit, mode string, result chan<- string) (job int, err error)
	StartTransient       func(ctx context.Context, unit, mode string, properties []dbus.Property, result chan<- string) (job int, err error)
	ResetFailed          func(ctx context.Context, unit string) error
	Units                func(ctx context.Context, units []string) ([]dbus.UnitStatus, error)
	// Property is one of a unit's interface of the given kind, as "Service".
	Property func(ctx context.Context, unit, kind, name string) (*dbus.Property, error)

	raw *godbus.Conn
}

// dialLimit bounds the making of a connection. PID 1 answers within a
// millisecond, or some 100 ms into a daemon-reload.
const dialLimit = 2 * time.Second

// Dial connects to the socket, usually PrivateSocket.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	// Signals in order, and never one left out.
	raw, err := godbus.NewConn(buffered{bufio.NewReader(c), c}, godbus.WithSignalHandler(godbus.NewSequentialSignalHandler()))
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	err = raw.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = ping(ctx, raw)
	}
	var s *dbus.Conn
	if err == nil {
		// go-systemd wants one connection for calls and one for signals. Here one is
		// both: a second would be greeted and sent every signal once more.
		s, err = dbus.NewConnection(func() (*godbus.Conn, error) { return raw, nil })
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return &Conn{
		Start: s.StartUnitContext, Stop: s.StopUnitContext, Restart: s.RestartUnitContext,
		StartTransient: s.StartTransientUnitContext, ResetFailed: s.ResetFailedUnitContext,
		Units: s.ListUnitsByNamesContext, Property: s.GetUnitTypePropertyContext,
		raw: raw,
	}, nil
}

// Close ends the connection; calls under way fail.
func (c *Conn) Close() { _ = c.raw.Close() }

// Connected reports whether the connection has not broken, as far as is known.
func (c *Conn) Connected() bool { return c.raw.Connected() }

// ping makes sure that systemd listens. The handshake ends with a line of ours,
// BEGIN, that is not answered; when PID 1 reads the first call together with that
// line, it leaves the call in its buffer until there is more to read (sd-bus as a
// server, seen with systemd 252). So call again until there is an answer.
func ping(ctx context.Context, c *godbus.Conn) error {
	const patience = 5 * time.Millisecond
	pings := make(chan *godbus.Call, dialLimit/patience)
	again := time.NewTicker(patience)
	defer again.Stop()
	for range cap(pings) {
		c.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").Go("org.freedesktop.DBus.Peer.Ping", 0, pings)
		select {
		case ping := <-pings:
			var answer godbus.Error
			if errors.As(ping.Err, &answer) {
				return nil // an error is an answer too
			}
			return ping.Err
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("no answer")
}

// buffered saves the many small reads of godbus' decoder.
type buffered struct {
	*bufio.Reader
	net.Conn
}

func (b buffered) Read(p []byte) (int, error) { return b.Reader.Read(p) }

var _ io.ReadWriteCloser = buffered{}

// Broken is closed when the connection has ended.
func (c *Conn) Broken() <-chan struct{} { return c.raw.Context().Done() }

// Signals sends everything that systemd signals to ch, in order and however slowly
// it is read, until NoSignals. ch may be closed when the connection breaks.
func (c *Conn) Signals(ch chan<- *godbus.Signal) { c.raw.Signal(ch) }

// NoSignals ends what Signals began.
func (c *Conn) NoSignals(ch chan<- *godbus.Signal) { c.raw.RemoveSignal(ch) }

// Check turns the error of a call into ErrLost if the connection broke, and into
// the cause of ctx' end if that is what ended the call. What systemd answered
// stays as it is.
func (c *Conn) Check(ctx context.Context, err error) error {
	var answer godbus.Error
	switch {
	case err == nil, errors.As(err, &answer):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !c.raw.Connected(), errors.Is(err, godbus.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		_ = c.raw.Close()
		return ErrLost
	}
	return err
}

// Job starts a job by Start, Stop or Restart and waits for its result: done, canceled, timeout, failed, dependency, skipped and
// others.
func (c *Conn) Job(ctx context.Context, start func(ctx context.Context, unit, mode string, result chan<- string) (int, error), unit string) (result string, err error) {
	done := make(chan string, 1) // go-systemd waits for it to be taken
	if _, err := start(ctx, unit, "replace", done); err != nil {
		return "", c.Check(ctx, err)
	}
	select {
	case r := <-done:
		return r, nil
	case <-c.Broken():
		return "", ErrLost
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
