package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/netif"
)

// demote silences the WAN first and deletes it later.
func (u *uplink) demote(ctx context.Context) {
	if u.now.release && u.lease != nil {
		u.giveBack(ctx)
	}
	start := time.Now()
	if u.exchange != nil {
		u.exchange.cancel()
	}
	err := u.kernel.Mute(ctx, link(u.wan))
	u.phase(hooks.PhaseSilent, u.wan.Name, start, err) // raw sockets are mute as well
	u.hush()
	u.lease, u.held, u.muted = nil, false, u.made
	u.update = dhcp.Update{}
	u.publish.withdraw()
	u.account()
	if err == nil && u.made && u.now.linger > 0 {
		u.silent = true
		u.gone.set(u.now.linger)
		return
	}
	start = time.Now()
	u.remove(ctx) // what cannot be muted must not stay
	u.phase(hooks.PhaseDeleted, u.wan.Name, start, u.err)
}

// hush ends everything of this process that could send with the shared MAC, and
// returns when it has ended.
func (u *uplink) hush() {
	if u.exchange != nil {
		u.exchange.cancel()
		<-u.exchange.done
		u.exchange = nil
	}
	u.voice.stop()
	u.voice, u.reach = nil, hooks.Reach{}
}

// giveBack sends a DHCPRELEASE.
func (u *uplink) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	start := time.Now()
	err := dhcp.Release(ctx, u.client, u.lease)
	u.phase(hooks.PhaseRelease, u.lease.Prefix.String(), start, err)
	u.fail(err)
}

// remove deletes the link of a backup. It reports whether there was one.
func (u *uplink) remove(ctx context.Context) (deleted bool) {
	deleted, err := u.kernel.Purge(ctx, link(u.wan))
	u.fail(err)
	if foreign(err) {
		// Nothing more can be done, and waiting changes nothing: it is reported, and
		// looked at again when it changes.
		u.made, u.muted, u.silent = false, false, true
		return deleted
	}
	if err != nil {
		u.again()
		return deleted
	}
	u.made, u.muted, u.silent = false, false, true
	return deleted
}

// foreign reports whether err, if any, is only about links that are not ours.
func foreign(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if ok {
		for _, e := range joined.Unwrap() {
			if !foreign(e) {
				return false
			}
		}
		return true
	}
	return errors.Is(err, netif.ErrForeign) || errors.Is(err, netif.ErrTwin)
}
