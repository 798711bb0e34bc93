// Package conntrackd drives the conntrackd(8) that the platform runs, so that the
// router that takes over knows the connections of its peer.
//
// It uses the daemon's own protocol on its UNIX socket rather than run the
// `conntrackd` program once per request: that is what the program does, after it
// has parsed the configuration, and it would give no better answer when the
// daemon is down. A request is an int (include/conntrackd.h; the values have been
// the same from 1.0 to 1.4.9), the answer is text, and the daemon closes the
// connection when it is done. It keeps that of a commit open until the commit has
// ended (src/sync-mode.c, local_commit and commit_cb).
package conntrackd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// ConfigFile is conntrackd's own default, on Debian and on OpenWrt.
const ConfigFile = "/etc/conntrackd/conntrackd.conf"

// ErrNone tells that there is no conntrackd here which replicates connections.
var ErrNone = errors.New("no conntrackd that replicates connections")

// Daemon is a conntrackd that replicates connections. Its methods are safe for
// concurrent use, but only in order do they make sense: Commit, then the address,
// then Resume.
//
// A conntrackd that is down delays no caller; one that hangs delays Commit for at
// most Patience, and the others until their ctx ends.
type Daemon struct {
	conf config
	log  *slog.Logger
}

// Open reads conntrackd's configuration. Without one, or when it only counts
// (Debian's default), the error is ErrNone. The daemon need not be running yet.
func Open(file string, log *slog.Logger) (*Daemon, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read conntrackd's configuration: %w", err)
	}
	defer f.Close()
	conf, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("read conntrackd's configuration %s: %w", file, err)
	}
	if !conf.sync {
		return nil, fmt.Errorf("%w: %s has no Sync section", ErrNone, file)
	}
	if conf.socket == "" {
		return nil, fmt.Errorf("%s names no UNIX socket (General { UNIX { Path ... } })", file)
	}
	d := &Daemon{conf: conf, log: log}
	if problem := d.Problem(); problem != "" {
		log.Warn("conntrackd will replicate stale connections", "config", file, "error", problem)
	}
	return d, nil
}

// oneStep is how many buckets conntrackd commits before it looks after other
// things (src/read_config_yy.y, commit_steps; not configurable).
const oneStep = 8192

// Problem says what in conntrackd's configuration defeats its purpose, or "".
//
// A commit that ends in its first step is never marked as ended (src/sync-mode.c:
// only commit_cb resets clientfd, and it does not run). From then on the daemon
// refuses to flush its caches, "commit still in progress", until it is restarted;
// connections that ended long ago stay in the external cache and are restored
// by the next commit. Debian's default file has just that HashSize.
func (d *Daemon) Problem() string {
	if d.conf.noCache || d.conf.hashSize > oneStep {
		return ""
	}
	return fmt.Sprintf("HashSize %d: conntrackd never flushes its caches after the first commit and brings old connections back, set more than %d and restart it",
		d.conf.hashSize, oneStep)
}

// Socket is the path of the daemon's control socket.
func (d *Daemon) Socket() string { return d.conf.socket }

// Running reports whether the daemon takes connections.
func (d *Daemon) Running(ctx context.Context) bool {
	c, err := d.dial(ctx)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// Patience is how long Commit waits for an answer of any kind. With 100000 connections a
// commit takes about a second, which is worth waiting for; a daemon that hangs is
// not.
const Patience = 200 * time.Millisecond

// Commit puts the peer's connections into the kernel. When it returns nil they are
// there. With DisableExternalCache they have been there all along.
//
// It takes as long as the daemon is at work and ctx allows, but ends within
// Patience when the daemon is silent. Should something else (an old notify script)
// have a commit running, the daemon skips this one and does not say so.
func (d *Daemon) Commit(ctx context.Context) error {
	if d.conf.noCache {
		return nil
	}
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		_, err := d.request(ctx, allCommit)
		done <- err
	}()
	if err := d.attend(ctx, done, cancel); err != nil {
		return fmt.Errorf("commit connections: %w", err)
	}
	// The end of a daemon that dies in the middle looks like the end of the commit.
	c, err := d.dial(ctx)
	if err != nil {
		return fmt.Errorf("commit connections: %w", err)
	}
	_ = c.Close()
	d.log.Debug("connections committed", "took", time.Since(start))
	return nil
}

// attend waits for done and gives up, by cancel, on a daemon that hangs. One that
// is at work answers other requests between the steps of a commit.
func (d *Daemon) attend(ctx context.Context, done <-chan error, cancel context.CancelCauseFunc) error {
	const pause = Patience / 10
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-timer.C:
		}
		sign, stop := context.WithTimeoutCause(ctx, Patience-pause, fmt.Errorf("no answer for %v", Patience))
		_, err := d.request(sign, statsCache)
		if err != nil && sign.Err() != nil { // else it died, and done will tell
			cancel(context.Cause(sign))
		}
		stop()
		timer.Reset(pause)
	}
}

// Resume makes this router the one that sends, once its address is up: the caches
// are emptied of the past, filled from the kernel's table, and sent to the peer.
// In this order: the flush also empties the internal cache, which the resync
// fills (it has ended when the daemon answers), and the bulk sends just that.
func (d *Daemon) Resume(ctx context.Context) error {
	before, err := d.external(ctx)
	if err != nil {
		return fmt.Errorf("look at connections: %w", err)
	}
	if _, err := d.request(ctx, allFlushCache); err != nil {
		return fmt.Errorf("flush caches: %w", err)
	}
	after, err := d.external(ctx)
	if err != nil {
		return fmt.Errorf("look at connections: %w", err)
	}
	var refused error
	if before > 0 && after >= before {
		refused = fmt.Errorf("flush caches: conntrackd refused, it thinks that a commit is in progress (%d entries, %d before)", after, before)
		if p := d.Problem(); p != "" {
			refused = fmt.Errorf("%w: %s", refused, p)
		}
	}
	// The peer needs what follows even so.
	if _, err := d.request(ctx, allResync); err != nil {
		return errors.Join(refused, fmt.Errorf("resync with the kernel: %w", err))
	}
	if _, err := d.request(ctx, sendBulk); err != nil {
		return errors.Join(refused, fmt.Errorf("send connections to the peer: %w", err))
	}
	return refused
}

// Yield is for a router that was primary and is backup now. Not for one that
// already was backup: a router that has just come back and resets its conntrackd
// loses what it is about to take over.
//
// What the kernel still holds is purged after PurgeTimeout, unless a commit comes
// first; and the peer is asked for its whole table.
func (d *Daemon) Yield(ctx context.Context) error {
	if _, err := d.request(ctx, resetTimers); err != nil {
		return fmt.Errorf("shorten timers: %w", err)
	}
	if _, err := d.request(ctx, requestDump); err != nil {
		return fmt.Errorf("ask the peer for its connections: %w", err)
	}
	return nil
}
