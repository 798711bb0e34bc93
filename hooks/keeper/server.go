package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// maxRequest bounds the one line that a client sends, and askLimit how long it
// may take: a client that stalls costs one goroutine for that long.
const (
	maxRequest = 1 << 16
	askLimit   = 2 * time.Second
)

// serve answers clients until ctx ends.
func (k *Keeper) serve(ctx context.Context, l *net.UnixListener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Out of file descriptors, as the only cause: the next hook finds room again.
			k.log.Error("cannot take a hook's call", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		clients.Go(func() {
			defer c.Close()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if err := k.client(ctx, cancel, c); err != nil && ctx.Err() == nil {
				k.log.Debug("client is gone", "error", err)
			}
		})
	}
}

// client serves one connection; gone is called when the other end hangs up.
func (k *Keeper) client(ctx context.Context, gone func(), c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(askLimit)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(c, maxRequest), 4096)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var req hooks.Request
	if err := json.Unmarshal(line, &req); err != nil {
		return answer(c, hooks.Answer{Error: "malformed request: " + err.Error()})
	}
	go func() {
		_, _ = r.ReadByte() // returns when the client closes
		gone()
	}()
	switch req.Op {
	case hooks.OpSettle, hooks.OpRelease:
		if req.Intent == nil {
			return answer(c, hooks.Answer{Error: "request without intent"})
		}
		a, err := k.settle(ctx, req)
		if err != nil {
			return err
		}
		return answer(c, a)
	case hooks.OpStatus:
		return answer(c, k.status(ctx))
	case hooks.OpWatch:
		return k.follow(ctx, func(r hooks.Report) error { return answer(c, r) })
	default:
		return answer(c, hooks.Answer{Error: fmt.Sprintf("unknown request %q", req.Op)})
	}
}

func answer(c net.Conn, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(askLimit))
	_, err = c.Write(append(raw, '\n'))
	return err
}
