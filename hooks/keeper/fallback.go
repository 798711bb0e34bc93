package keeper

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
)

// fallbackRetry is the time between two tries while the gateway is no neighbour:
// the LAN is not up yet, or keepalived has not removed the VIP.
const fallbackRetry = time.Second

// fallbackWarnAfter is how many tries may fail before a warning is logged.
const fallbackWarnAfter = 10

// fallback keeps a default route through the peer while this router is backup, for
// what this router sends itself, so that it can resolve names and update itself.
type fallback struct {
	network network
	gateway netip.Addr // zero: no such route
	log     *slog.Logger
	wake    signal

	mu   sync.Mutex
	role intent.Role
}

func newFallback(n network, gateway netip.Addr, log *slog.Logger) *fallback {
	return &fallback{network: n, gateway: gateway, log: log, wake: newSignal(), role: intent.Primary}
}

// leave removes the route. It is gone when leave returns, before the WAN comes up.
func (f *fallback) leave(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.role = intent.Primary
	f.remove(ctx)
}

// remove removes the route. It is asked even without a gateway: an earlier
// configuration may have had one.
func (f *fallback) remove(ctx context.Context) {
	if _, err := f.network.RemoveBackupDefault(ctx); err != nil {
		f.log.Error("cannot remove the backup's default route", "error", err)
	}
}

// enter adds the route, as soon as that is possible.
func (f *fallback) enter() {
	f.mu.Lock()
	f.role = intent.Backup
	f.mu.Unlock()
	f.look()
}

// look asks for a look at the kernel, which may have changed.
func (f *fallback) look() { f.wake.raise() }

// run keeps the route until ctx ends and leaves it as it is then. It is for a
// fallback with a gateway.
func (f *fallback) run(ctx context.Context) {
	retry := newTimer()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-retry.C:
		}
		err := f.ensure(ctx)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures == fallbackWarnAfter {
			f.log.Warn("no default route while backup: is backup_gateway on a network of this router?", "gateway", f.gateway, "error", err)
		}
		retry.set(fallbackRetry)
	}
}

func (f *fallback) ensure(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.role != intent.Backup {
		return nil
	}
	changed, err := f.network.EnsureBackupDefault(ctx, f.gateway)
	if changed {
		f.log.Debug("default route while backup", "gateway", f.gateway)
	}
	return err
}
