package conntrackd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is a request of include/conntrackd.h. "All" ones act on expectations
// too, where these are replicated.
type command uint32

const (
	sendBulk      command = 22 // conntrackd -B
	requestDump   command = 23 // conntrackd -n
	resetTimers   command = 26 // conntrackd -t
	statsCache    command = 29 // conntrackd -s cache
	allResync     command = 44 // conntrackd -R
	allFlushCache command = 45 // conntrackd -f
	allCommit     command = 46 // conntrackd -c
)

// maxAnswer is far above the longest answer to these commands.
const maxAnswer = 64 << 10

// request sends a command and returns the answer once the daemon is done with it.
func (d *Daemon) request(ctx context.Context, cmd command) (answer string, err error) {
	c, err := d.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return exchange(ctx, c, cmd)
}

// exchange sends a command on a connection of its own and reads the answer.
func exchange(ctx context.Context, c net.Conn, cmd command) (answer string, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var raw []byte
	if _, err = c.Write(binary.NativeEndian.AppendUint32(nil, uint32(cmd))); err == nil {
		raw, err = io.ReadAll(io.LimitReader(c, maxAnswer))
	}
	if err == nil && len(raw) == maxAnswer {
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	}
	if err != nil {
		return "", silent(ctx, err)
	}
	return string(raw), nil
}

// dial connects to the daemon. A daemon that hangs is connected to, until its
// backlog is full.
func (d *Daemon) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", d.conf.socket)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("conntrackd is not running: %w", err)
	case err != nil:
		return nil, silent(ctx, err)
	}
	return c, nil
}

// silent names the reason for which ctx ended, which is what cut the exchange.
func silent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("conntrackd does not answer: %w", err)
}

// activeExternal finds the first of the external cache's counters in the
// statistics. (No regular expression: to compile one costs each hook, which has
// no use for it, a tenth of a millisecond.)
func activeExternal(statistics string) (n int, ok bool) {
	for line := range strings.Lines(statistics) {
		if counters, found := strings.CutPrefix(line, "cache:external"); found {
			_, value, _ := strings.Cut(counters, "active objects:")
			n, err := strconv.Atoi(strings.TrimSpace(value))
			return n, err == nil
		}
	}
	return 0, false
}

// external returns how many connections of the peer's the daemon holds. With
// DisableExternalCache there is no such cache, and none.
func (d *Daemon) external(ctx context.Context) (int, error) {
	if d.conf.noCache {
		return 0, nil
	}
	answer, err := d.request(ctx, statsCache)
	if err != nil {
		return 0, err
	}
	n, ok := activeExternal(answer)
	if !ok {
		return 0, fmt.Errorf("conntrackd's statistics have no external cache: %.100q", answer)
	}
	return n, nil
}
