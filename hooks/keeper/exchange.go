package keeper

import (
	"context"
	"fmt"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
)

// exchange is a running DHCP client.
type exchange struct {
	client  *dhcp.Client
	updates chan dhcp.Update
	cancel  context.CancelFunc
	done    chan struct{}
}

// listen starts the DHCP client.
func (u *uplink) listen(ctx context.Context) {
	c, err := dhcp.New(u.client, u.log)
	if err != nil {
		u.fail(fmt.Errorf("start DHCP client: %w", err))
		u.again()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &exchange{client: c, updates: make(chan dhcp.Update), cancel: cancel, done: make(chan struct{})}
	u.exchange = x
	go func() {
		defer close(x.done)
		if err := c.Run(ctx, x.updates); err != nil && ctx.Err() == nil {
			u.log.Error("DHCP client ended, another one is started", "error", err)
		}
	}()
}

// learn takes an update of the DHCP client.
func (u *uplink) learn(ctx context.Context, up dhcp.Update) {
	u.update = up
	if up.Lease == u.lease {
		return
	}
	u.lease = up.Lease
	if up.Lease == nil {
		u.publish.withdraw()
		u.advance(ctx)
		u.account()
		return
	}
	if !u.noted(hooks.PhaseLease) {
		u.phase(hooks.PhaseLease, fmt.Sprintf("%s from %s", up.Lease.Prefix, up.Lease.Server), u.since, nil)
	}
	u.advance(ctx)
	u.publish.publish(up.Lease)
	u.account()
}

// news are the DHCP client's updates, if there is one.
func (u *uplink) news() <-chan dhcp.Update {
	if u.exchange == nil {
		return nil
	}
	return u.exchange.updates
}

// ended is closed when the DHCP client has ended of its own accord.
func (u *uplink) ended() <-chan struct{} {
	if u.exchange == nil {
		return nil
	}
	return u.exchange.done
}

// revive plans a new DHCP client.
func (u *uplink) revive() {
	u.exchange.cancel()
	u.exchange = nil
	u.again()
}
