package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// Limits on callers. A caller above the limit waits in the kernel's queue; nothing
// is lost by that, since the keeper acts on the record of role requests, which a
// hook writes before it connects.
const (
	maxCallers   = 128             // at once, each with two goroutines
	maxFollowers = 32              // of these, so that hooks find a place
	maxRequest   = 8 << 10         // bytes of the one line that a caller sends
	askLimit     = 2 * time.Second // for a caller to send it, and to take each answer
	refusalsLog  = time.Minute     // between two log lines about refused callers
)

// server answers the callers of the keeper's socket.
type server struct {
	log *slog.Logger
	// followers has a place for each of those that may follow at once.
	followers chan struct{}
	// handle carries out a request. Its ctx ends when the caller hangs up.
	handle func(ctx context.Context, r control.Request, answer func(any) error) error
}

func newServer(log *slog.Logger, handle func(ctx context.Context, r control.Request, answer func(any) error) error) *server {
	return &server{log: log, followers: make(chan struct{}, maxFollowers), handle: handle}
}

// serve answers callers until ctx ends.
func (s *server) serve(ctx context.Context, l *net.UnixListener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var callers sync.WaitGroup
	defer callers.Wait()
	places := make(chan struct{}, maxCallers)
	var refused refusals
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Out of file descriptors, as the only cause: the next hook finds room again.
			s.log.Error("cannot accept a connection", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			<-places
			continue
		}
		if err := rundir.Trusted(c); err != nil {
			refused.log(s.log, time.Now(), err)
			// Into an empty buffer: it cannot block.
			_ = answer(c, control.Answer{Error: "only root may ask the keeper: " + err.Error()})
			_ = c.Close()
			<-places
			continue
		}
		callers.Go(func() {
			defer func() { <-places }()
			defer c.Close()
			if err := s.call(ctx, c); err != nil && ctx.Err() == nil {
				s.log.Debug("a caller's connection ended", "error", err)
			}
		})
	}
}

// refusals keeps a caller that is refused repeatedly from filling the log.
type refusals struct {
	told  time.Time
	since int // not told of
}

func (r *refusals) log(log *slog.Logger, now time.Time, err error) {
	r.since++
	if !r.told.IsZero() && now.Sub(r.told) < refusalsLog {
		return
	}
	log.Warn("refused a caller: is the mode of the socket 0600?", "error", err, "refused", r.since)
	r.told, r.since = now, 0
}

// call serves one connection.
func (s *server) call(ctx context.Context, c *net.UnixConn) error {
	ctx, hungUp := context.WithCancel(ctx)
	defer hungUp()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(askLimit)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(c, maxRequest), 1<<10)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	reply := func(v any) error { return answer(c, v) }
	req, err := parseRequest(line)
	if err != nil {
		return reply(control.Answer{Error: err.Error()})
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		_, _ = r.ReadByte() // returns when the caller closes, or with the deadline below
		hungUp()
	})
	defer reader.Wait()
	defer func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }()
	if req.Op == control.OpWatch {
		select {
		case s.followers <- struct{}{}:
			defer func() { <-s.followers }()
		default:
			return reply(control.Answer{Error: fmt.Sprintf("%d others follow the keeper already", maxFollowers)})
		}
	}
	return s.handle(ctx, req, reply)
}

// parseRequest takes requests that a hook can have sent.
func parseRequest(line []byte) (r control.Request, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("malformed request: %w", err)
	}
	switch r.Op {
	case control.OpStatus, control.OpWatch:
		return r, nil
	case control.OpSettle, control.OpRelease, control.OpAnnounce:
		if r.Intent == nil {
			return r, errors.New("request without intent")
		}
		return r, r.Intent.Validate()
	}
	return r, fmt.Errorf("unknown request %.40q", r.Op)
}

func answer(c *net.UnixConn, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(askLimit))
	_, err = c.Write(append(raw, '\n'))
	return err
}

// handle carries out a request of the socket.
func (k *Keeper) handle(ctx context.Context, req control.Request, answer func(any) error) error {
	switch req.Op {
	case control.OpSettle, control.OpRelease:
		a, err := k.take(ctx, req)
		if err != nil {
			return err
		}
		return answer(a)
	case control.OpAnnounce:
		k.announce(*req.Intent)
		return answer(control.Answer{Outcome: control.Reached})
	case control.OpStatus:
		r, err := k.status(ctx)
		if err != nil {
			return err
		}
		return answer(r)
	case control.OpWatch:
		return k.follow(ctx, func(r control.Report) error { return answer(r) })
	default:
		return fmt.Errorf("no answer to %q", req.Op) // parseRequest has let it pass
	}
}
