package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/netif"
)

// kernel is what an uplink needs of package netif.
type kernel interface {
	Apply(ctx context.Context, d netif.Desired) (netif.Changes, error)
	Mute(ctx context.Context, l netif.Link) error
	Purge(ctx context.Context, l netif.Link) (bool, error)
	Observe(ctx context.Context, l netif.Link) (netif.Observed, error)
	speaker
}

// order is what the loop wants of an uplink. The latest wins.
type order struct {
	epoch int
	role  hooks.Role
	// gate is closed once the address may receive packets: the replicated
	// connections are in the kernel.
	gate <-chan struct{}
	// linger is how long a demoted link stays, mute, before it is deleted.
	linger time.Duration
	// release gives the lease back to the server, which only a person may ask.
	release bool
}

// reached is what an uplink reports.
type reached struct {
	epoch    int
	settled  bool // the role of epoch is reached
	wan      hooks.WAN
	lease    *dhcp.Lease
	phases   []hooks.Phase
	problems []string // why it is not settled, or what is wrong all the same
}

// healing bounds how often a link is repaired when something keeps breaking it.
const (
	healSoonest = 100 * time.Millisecond
	healLatest  = 30 * time.Second
	healCalm    = time.Minute // unbroken for so long: start over
)

// uplink drives one WAN. All its fields belong to the goroutine of run.
type uplink struct {
	wan     config.WAN
	kernel  kernel
	client  dhcp.Config
	publish *press
	log     *slog.Logger
	report  func(reached) // must not block

	orders chan order       // holds the latest
	events chan netif.Event // about this WAN's link and its parent

	now     order
	started bool      // an order has been taken
	since   time.Time // start of now
	phases  []hooks.Phase
	err     error // what keeps the WAN from its role

	made   bool // the link is there
	muted  bool // it is there, but silent
	held   bool // the kernel holds lease
	silent bool // nothing can leave with the shared MAC
	lease  *dhcp.Lease
	update dhcp.Update

	exchange *exchange // runs while primary
	voice    *voice    // speaks while the address is up
	reach    hooks.Reach

	heal timer // next repair
	wait time.Duration
	last time.Time // of the last repair
	gone timer     // deletion of a muted link
}

// exchange is a running DHCP client.
type exchange struct {
	client  *dhcp.Client
	updates chan dhcp.Update
	cancel  context.CancelFunc
	done    chan struct{}
}

func newUplink(wan config.WAN, k kernel, leaseFile string, pubs []Publisher, log *slog.Logger, report func(reached)) *uplink {
	log = log.With("wan", wan.Name)
	return &uplink{
		wan: wan, kernel: k, client: client(wan, leaseFile), log: log, report: report,
		publish: newPress(wan, pubs, log),
		orders:  make(chan order, 1),
		events:  make(chan netif.Event, 64),
		heal:    newTimer(), gone: newTimer(),
	}
}

// adopt takes over what an earlier keeper left in the kernel. It reports whether
// the WAN is up with an address that a remembered lease still covers.
func (u *uplink) adopt(o netif.Observed) bool {
	if !o.Owned {
		return false
	}
	u.made, u.muted = true, o.Muted
	remembered, err := dhcp.ReadLease(u.client.LeaseFile)
	if err != nil || remembered == nil || remembered.Remaining() <= 0 || o.Muted || !o.Matches {
		return false
	}
	u.held = slices.ContainsFunc(o.Addresses, func(a netif.Address) bool { return a.Prefix == remembered.Prefix })
	if u.held {
		u.lease = remembered
	}
	return u.held
}

// obey replaces the order that the uplink has not begun yet. Only the loop calls it.
func (u *uplink) obey(o order) {
	select {
	case <-u.orders:
	default:
	}
	u.orders <- o
}

// notice hands over a kernel event. When the uplink is behind, the event may be
// dropped: those that wait already make it look at the kernel again.
func (u *uplink) notice(ev netif.Event) {
	select {
	case u.events <- ev:
	default:
	}
}

// run drives the WAN until ctx ends, and then leaves it as it is: a keeper that
// restarts must not be felt.
func (u *uplink) run(ctx context.Context) {
	var press sync.WaitGroup
	press.Go(func() { u.publish.run(ctx) })
	defer press.Wait()
	defer u.hush()
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-u.orders:
			u.take(ctx, o)
		case up := <-u.news():
			u.learn(ctx, up)
		case <-u.waiting():
			u.advance(ctx)
		case <-u.events:
			u.look(ctx)
		case <-u.heal.C:
			u.heal.stop()
			u.restore(ctx)
		case <-u.gone.C:
			u.gone.stop()
			u.remove(ctx)
		case u.reach = <-u.voice.heard():
		}
		u.tell()
	}
}

// news are the DHCP client's updates, if there is one.
func (u *uplink) news() <-chan dhcp.Update {
	if u.exchange == nil {
		return nil
	}
	return u.exchange.updates
}

// waiting is the gate while something waits for it.
func (u *uplink) waiting() <-chan struct{} {
	if u.now.role == hooks.Primary && (u.muted || u.lease != nil) && !u.held && u.err == nil {
		return u.now.gate
	}
	return nil
}

// take begins an order.
func (u *uplink) take(ctx context.Context, o order) {
	change := !u.started || o.role != u.now.role
	u.now, u.started = o, true
	if !change {
		return
	}
	u.since, u.phases, u.err, u.wait = time.Now(), nil, nil, 0
	u.heal.stop()
	u.gone.stop()
	if o.role == hooks.Primary {
		u.silent = false
		u.advance(ctx)
	} else {
		u.demote(ctx)
	}
}

// advance takes every step toward the primary role that can be taken now: the
// link, the DHCP client that speaks through it, the address once there is a
// lease and the gate is open, and its announcement. Each step is skipped where
// the kernel is as it should be. It reports what it changed there.
func (u *uplink) advance(ctx context.Context) (changes netif.Changes) {
	gated := !u.held && !isOpen(u.now.gate)
	if gated && u.muted {
		return changes // a muted link may still hold the address: it waits as well
	}
	lease := u.lease
	if gated {
		lease = nil
	}
	start := time.Now()
	changes, err := u.kernel.Apply(ctx, plan(u.wan, lease))
	u.fail(err)
	if err != nil {
		u.held = false
		u.phase("macvlan", u.wan.Name, start, err)
		u.again()
		return changes
	}
	u.made, u.muted = true, false
	if u.exchange == nil {
		u.phase("macvlan", u.wan.Name+" on "+u.wan.Parent, start, nil)
		u.listen(ctx)
	}
	u.held = lease != nil
	if !u.held {
		u.voice.stop()
		u.voice = nil
		return changes
	}
	if !u.noted("address") {
		u.phase("address", lease.Prefix.String(), start, nil)
	}
	news := changes.Created || changes.Addr || changes.Unmuted
	if u.voice == nil || u.voice.lease.Gateway != lease.Gateway || news {
		u.voice.stop()
		u.voice = startVoice(ctx, u.kernel, u.wan, lease, news, u.log)
	}
	return changes
}

// listen starts the DHCP client.
func (u *uplink) listen(ctx context.Context) {
	c, err := dhcp.New(u.client, u.log)
	if err != nil {
		u.fail(fmt.Errorf("start DHCP client: %w", err))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &exchange{client: c, updates: make(chan dhcp.Update), cancel: cancel, done: make(chan struct{})}
	u.exchange = x
	go func() {
		defer close(x.done)
		if err := c.Run(ctx, x.updates); err != nil && ctx.Err() == nil {
			u.log.Error("DHCP client ended", "err", err)
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
		return
	}
	if !u.noted("lease") {
		u.phase("lease", fmt.Sprintf("%s from %s", up.Lease.Prefix, up.Lease.Server), u.since, nil)
	}
	u.advance(ctx)
	u.publish.publish(up.Lease)
}

// demote silences the WAN first and deletes it later.
func (u *uplink) demote(ctx context.Context) {
	start := time.Now()
	if u.now.release && u.lease != nil {
		u.giveBack(ctx)
	}
	if u.exchange != nil {
		u.exchange.cancel()
	}
	err := u.kernel.Mute(ctx, link(u.wan))
	u.phase("silent", u.wan.Name, start, err) // raw sockets are mute as well
	u.hush()
	u.lease, u.held, u.muted = nil, false, u.made
	u.update = dhcp.Update{}
	u.publish.withdraw()
	if err == nil && u.made && u.now.linger > 0 {
		u.silent = true
		u.gone.set(u.now.linger)
		return
	}
	start = time.Now()
	u.remove(ctx) // what cannot be muted must not stay
	u.phase("deleted", u.wan.Name, start, u.err)
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
	start := time.Now()
	err := dhcp.Release(ctx, u.client, u.lease)
	u.phase("release", u.lease.Prefix.String(), start, err)
	u.fail(err)
}

// remove deletes the link of a backup.
func (u *uplink) remove(ctx context.Context) {
	deleted, err := u.kernel.Purge(ctx, link(u.wan))
	u.fail(err)
	if err != nil {
		if !errors.Is(err, netif.ErrForeign) {
			u.again()
		}
		return
	}
	u.made, u.muted, u.silent = false, false, true
	if deleted {
		u.log.Debug("link is deleted")
	}
}

// look reads the kernel again after an event there.
func (u *uplink) look(ctx context.Context) {
	// Whatever else waits is covered by the same look.
	for more := true; more; {
		select {
		case <-u.events:
		default:
			more = false
		}
	}
	if u.exchange != nil {
		// What an event says may be over by now: ask.
		o, err := u.kernel.Observe(ctx, link(u.wan))
		u.exchange.client.Carrier(err == nil && o.Up && o.Carrier)
	}
	if u.started && !u.heal.running && !u.gone.running {
		u.restore(ctx)
	}
}

// restore makes the kernel match again after something else changed it. The next
// repair then waits, longer each time, so that a fight with another program does
// not become a storm.
func (u *uplink) restore(ctx context.Context) {
	if u.now.role == hooks.Backup {
		u.remove(ctx)
		return
	}
	if u.exchange == nil && u.err == nil {
		return // not begun: the gate is not open yet
	}
	failed := u.err != nil
	changes := u.advance(ctx)
	switch {
	case u.err == nil && !changes.None():
		u.log.Warn("restored what was changed behind wanfail's back", "changes", strings.Join(changes.Steps, ", "))
		u.again()
	case u.err == nil && failed:
		u.log.Info("recovered")
	}
}

// again plans a repair.
func (u *uplink) again() {
	if time.Since(u.last) > healCalm {
		u.wait = 0
	}
	u.last = time.Now()
	u.wait = min(max(2*u.wait, healSoonest), healLatest)
	u.heal.set(u.wait)
}

// fail notes what keeps the WAN from its role and logs it once.
func (u *uplink) fail(err error) {
	if err != nil && (u.err == nil || u.err.Error() != err.Error()) {
		u.log.Error("WAN is not as it should be", "err", err)
	}
	u.err = err
}

// phase notes that a part of the transition has ended.
func (u *uplink) phase(name, detail string, start time.Time, err error) {
	const most = 32 // a WAN that keeps healing must not grow without bound
	if len(u.phases) == most {
		return
	}
	p := hooks.Phase{Name: name, Detail: detail, Took: time.Since(start), At: time.Since(u.since)}
	if err != nil {
		p.Error = err.Error()
	}
	u.phases = append(u.phases, p)
}

// noted reports whether the transition has such a phase.
func (u *uplink) noted(name string) bool {
	return slices.ContainsFunc(u.phases, func(p hooks.Phase) bool { return p.Name == name })
}

func isOpen(gate <-chan struct{}) bool {
	select {
	case <-gate:
		return true
	default:
		return false
	}
}
