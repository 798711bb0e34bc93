package keeper

import (
	"context"
	"errors"
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
	Glance(ctx context.Context, l netif.Link) (netif.Observed, error)
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

const (
	// The kernel tells nobody that matters of a queueing discipline that was
	// changed, nor of routes that went with a link: so look now and then.
	careful = 15 * time.Second
	// releaseLimit bounds the wait for a DHCPRELEASE to leave.
	releaseLimit = time.Second
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
	fresh  chan struct{}    // holds a token while refresh has not been heeded

	now     order
	started bool      // an order has been taken
	since   time.Time // start of now
	phases  []hooks.Phase
	err     error // what keeps the WAN from its role

	made   bool // the link is there
	muted  bool // it is there, but silent
	held   bool // the kernel holds lease
	silent bool // nothing can leave with the shared MAC, as far as that is ours to say
	lease  *dhcp.Lease
	update dhcp.Update
	logged *dhcp.Lease // what the log told of last
	from   time.Time   // when that came to be; zero: an earlier keeper saw it

	exchange *exchange // runs while primary
	voice    *voice    // speaks while the address is up
	reach    hooks.Reach

	heal timer // next repair
	wait backoff
	gone timer // deletion of a muted link
	care timer // next look without a reason
}

func newUplink(wan config.WAN, k kernel, leaseFile dhcp.File, pubs []Publisher, log *slog.Logger, report func(reached)) *uplink {
	log = log.With("wan", wan.Name)
	return &uplink{
		wan: wan, kernel: k, client: client(wan, leaseFile), log: log, report: report,
		publish: newPress(wan, pubs, log),
		orders:  make(chan order, 1),
		events:  make(chan netif.Event, 64),
		fresh:   make(chan struct{}, 1),
		heal:    newTimer(), gone: newTimer(), care: newTimer(),
	}
}

// adopt takes over what an earlier keeper left in the kernel. It reports whether
// the WAN is up with an address that a remembered lease still covers.
func (u *uplink) adopt(o netif.Observed) bool {
	if !o.Owned {
		return false
	}
	u.made, u.muted = true, o.Muted
	if o.Matches && !o.Muted {
		u.lease = u.remembered(o)
	}
	u.held, u.logged = u.lease != nil, u.lease
	return u.held
}

// remembered is the lease that covers an address of the link, nil if there is
// none.
func (u *uplink) remembered(o netif.Observed) *dhcp.Lease {
	l, err := dhcp.ReadLease(u.client.LeaseFile)
	if err != nil || l == nil || l.Remaining() <= 0 {
		return nil
	}
	if !slices.ContainsFunc(o.Addresses, func(a netif.Address) bool { return a.Prefix == l.Prefix }) {
		return nil
	}
	return l
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

// refresh asks for a look at the kernel and for the publishers to be told again.
func (u *uplink) refresh() {
	select {
	case u.fresh <- struct{}{}:
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
	u.care.set(careful)
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
		case <-u.fresh:
			u.look(ctx)
			u.publish.publish(u.lease) // a backup has none
		case <-u.heal.C:
			u.heal.stop()
			u.restore(ctx)
		case <-u.gone.C:
			u.gone.stop()
			u.remove(ctx)
		case <-u.care.C:
			u.care.set(careful)
			u.look(ctx)
		case <-u.ended():
			u.revive()
		case u.reach = <-u.voice.heard():
		}
		u.tell()
	}
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
	u.since, u.phases, u.err, u.wait = time.Now(), nil, nil, backoff{}
	u.heal.stop()
	u.gone.stop()
	if o.role == hooks.Primary {
		u.silent = false
		if u.logged == nil {
			u.from = u.since
		}
		u.reclaim(ctx)
		u.advance(ctx)
	} else {
		u.demote(ctx)
	}
}

// reclaim finds the address that a mute link still has, so that it is kept when
// the link speaks again: with it the kernel would drop the connections that it
// masqueraded.
func (u *uplink) reclaim(ctx context.Context) {
	if !u.muted || u.lease != nil {
		return
	}
	o, err := u.kernel.Observe(ctx, link(u.wan))
	if err == nil && o.Matches {
		u.lease = u.remembered(o)
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
		u.phase(hooks.PhaseMacvlan, u.wan.Name, start, err)
		u.again()
		return changes
	}
	u.made, u.muted = true, false
	if u.exchange == nil {
		u.phase(hooks.PhaseMacvlan, u.wan.Name+" on "+u.wan.Parent, start, nil)
		u.listen(ctx)
	}
	u.held = lease != nil
	if !u.held {
		u.voice.stop()
		u.voice = nil
		return changes
	}
	if !u.noted(hooks.PhaseAddress) {
		u.phase(hooks.PhaseAddress, lease.Prefix.String(), start, nil)
	}
	if changes.Created {
		u.publish.publish(lease) // what was said belonged to the link that is gone
	}
	news := changes.Created || changes.Addr || changes.Unmuted
	if u.voice == nil || u.voice.lease.Gateway != lease.Gateway || news {
		u.voice.stop()
		u.voice = startVoice(ctx, u.kernel, u.wan, lease, news, u.log)
	}
	return changes
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
	if !u.started {
		return
	}
	// What an event says may be over by now: ask.
	o, err := u.kernel.Glance(ctx, link(u.wan))
	if u.exchange != nil {
		u.exchange.client.Carrier(err == nil && o.Up && o.Carrier)
	}
	switch {
	case u.gone.running:
		if err == nil && o.Owned && o.Muted || err == nil && !o.Exists {
			return // as it should be, until its time has come
		}
		u.gone.stop() // somebody gave it its voice back
	case u.heal.running:
		if err != nil || !o.ParentExists || !errors.Is(u.err, netif.ErrNoParent) {
			return
		}
		u.heal.stop() // what was missing is there: no need to wait
	}
	u.restore(ctx)
}

// restore makes the kernel match again after something else changed it. The next
// repair then waits, longer each time, so that a fight with another program does
// not become a storm.
func (u *uplink) restore(ctx context.Context) {
	if u.now.role == hooks.Backup {
		if u.remove(ctx) {
			u.log.Warn("deleted a link that should not have been there: find out what makes it")
		}
		return
	}
	failed, underway := u.err != nil, !u.held
	changes := u.advance(ctx)
	switch {
	// The event was about the link that has just been made, and came at a moment
	// when the address could follow: nobody but us changed anything.
	case u.err == nil && !failed && underway && !changes.Created && (changes.Addr || changes.Unmuted):
	case u.err == nil && !changes.None():
		u.log.Warn("restored what was changed behind wanfail's back: find out what does that, `wanfail doctor` may know", "changes", strings.Join(changes.Steps, ", "))
		u.again()
	case u.err == nil && failed:
		u.log.Debug("WAN is as it should be again")
	}
}

// again plans a repair.
func (u *uplink) again() { u.heal.set(u.wait.next()) }

// fail notes what keeps the WAN from its role and logs it once.
func (u *uplink) fail(err error) {
	if err != nil && (u.err == nil || u.err.Error() != err.Error()) {
		u.log.Error("WAN is not as it should be", "error", err)
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
