//go:build !nosystemd

package services

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// privateSocket is where systemd takes root's calls without the message bus, as
// systemctl does: it works before dbus-daemon runs, and while that is restarted.
// On this socket systemd sends every signal to everybody, with no subscription.
const privateSocket = "/run/systemd/private"

const (
	managerPath  dbus.ObjectPath = "/org/freedesktop/systemd1"
	systemd1                     = "org.freedesktop.systemd1"
	managerIface                 = systemd1 + ".Manager"
	unitIface                    = systemd1 + ".Unit"
	serviceIface                 = systemd1 + ".Service"
)

// bus is one connection to systemd. When it breaks (daemon-reexec closes it) it
// is done for; systemd.connected makes the next one.
//
// go-systemd's connection is not used: it does not tell that it broke, so the
// result of a job under way would be waited for until the time limit.
type bus struct {
	conn   *dbus.Conn
	signal func(*dbus.Signal) // called in order; must not block

	mu      sync.Mutex
	calls   int                        // that will return a job
	early   map[dbus.ObjectPath]string // results that came before the call returned
	waiting map[dbus.ObjectPath][]chan<- string
}

// dialLimit bounds the making of a connection. PID 1 answers within a
// millisecond, or some 100 ms into a daemon-reload.
const dialLimit = 2 * time.Second

func dialBus(ctx context.Context, socket string, signal func(*dbus.Signal)) (*bus, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	b := &bus{signal: signal, early: map[dbus.ObjectPath]string{}, waiting: map[dbus.ObjectPath][]chan<- string{}}
	b.conn, err = dbus.NewConn(buffered{bufio.NewReader(c), c}, dbus.WithSignalHandler(b))
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	err = b.conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = b.knock(ctx)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = b.conn.Close()
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return b, nil
}

// knock makes sure that systemd listens. The handshake ends with a line of ours,
// BEGIN, that is not answered; when PID 1 reads the first call together with that
// line, it leaves the call in its buffer until there is more to read (sd-bus as a
// server, seen with systemd 252). So call again until there is an answer.
func (b *bus) knock(ctx context.Context) error {
	const patience = 5 * time.Millisecond
	pings := make(chan *dbus.Call, dialLimit/patience)
	again := time.NewTicker(patience)
	defer again.Stop()
	for range cap(pings) {
		b.conn.Object(systemd1, managerPath).Go("org.freedesktop.DBus.Peer.Ping", 0, pings)
		select {
		case ping := <-pings:
			var answer dbus.Error
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

// DeliverSignal is called by godbus for each signal, in the order of arrival and
// in order with the replies.
func (b *bus) DeliverSignal(_, _ string, s *dbus.Signal) {
	if s.Name == managerIface+".JobRemoved" {
		var id uint32
		var job dbus.ObjectPath
		var unit, result string
		if dbus.Store(s.Body, &id, &job, &unit, &result) == nil {
			b.finish(job, result)
		}
	}
	b.signal(s)
}

func (b *bus) finish(job dbus.ObjectPath, result string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.waiting[job] {
		c <- result
	}
	delete(b.waiting, job)
	if b.calls > 0 {
		b.early[job] = result
	}
}

// errLost tells that the connection broke, with what was asked for done or not.
var errLost = errors.New("connection to systemd lost")

// job calls a method that starts a job on a unit and waits for the job's result:
// done, canceled, timeout, failed, dependency, skipped and others.
func (b *bus) job(ctx context.Context, method, unit string) (result string, err error) {
	b.mu.Lock()
	b.calls++
	b.mu.Unlock()
	var job dbus.ObjectPath
	err = b.call(ctx, managerPath, managerIface+"."+method, []any{unit, "replace"}, &job)
	done := make(chan string, 1) // finish never blocks
	b.mu.Lock()
	if err == nil {
		if r, ok := b.early[job]; ok {
			done <- r
		} else {
			b.waiting[job] = append(b.waiting[job], done)
		}
	}
	if b.calls--; b.calls == 0 {
		clear(b.early)
	}
	b.mu.Unlock()
	if err != nil {
		return "", err
	}
	select {
	case r := <-done:
		return r, nil
	case <-b.conn.Context().Done():
		return "", errLost
	case <-ctx.Done():
		b.forget(job, done)
		return "", context.Cause(ctx)
	}
}

func (b *bus) forget(job dbus.ObjectPath, done chan<- string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var rest []chan<- string
	for _, c := range b.waiting[job] {
		if c != done {
			rest = append(rest, c)
		}
	}
	if b.waiting[job] = rest; len(rest) == 0 {
		delete(b.waiting, job)
	}
}

func (b *bus) call(ctx context.Context, path dbus.ObjectPath, method string, args []any, reply ...any) error {
	err := b.conn.Object(systemd1, path).CallWithContext(ctx, method, 0, args...).Store(reply...)
	var answer dbus.Error
	switch {
	case err == nil, errors.As(err, &answer):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case b.lost() || errors.Is(err, dbus.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE):
		_ = b.conn.Close()
		return errLost
	}
	return err
}

func (b *bus) lost() bool { return !b.conn.Connected() }

func (b *bus) close() { _ = b.conn.Close() }
