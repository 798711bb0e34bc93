package keeper

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/netif"
)

// kernel is what an uplink needs of package netif.
type kernel interface {
	Apply(ctx context.Context, d netif.Desired) (netif.Changes, error)
	Mute(ctx context.Context, l netif.Link) error
	Purge(ctx context.Context, l netif.Link) (bool, error)
	Observe(ctx context.Context, l netif.Link) (netif.Observed, error)
	Glance(ctx context.Context, l netif.Link) (netif.Observed, error)
	Others(ctx context.Context, l netif.Link) (netif.Others, error)
	arpSender
}

// releaseLimit bounds the wait for a DHCPRELEASE to leave.
const releaseLimit = time.Second

// uplink executes what the machine of a WAN decides. All its fields belong to the
// goroutine of run.
type uplink struct {
	former    netip.Addr // that the WAN had last, on this router as far as it knows; zero: none
	wan       config.WAN
	kernel    kernel
	config    dhcp.Config
	virtual   netip.Addr // backup_gateway, the virtual address on the LAN; zero: not known
	log       *slog.Logger
	machine   *wan.Machine
	inbox     *queue[wan.Event]
	report    func(wan.State) // must not block
	rounds    chan func()     // of the watchdog
	overtaken func() bool     // a newer order is on its way; nil: that cannot be
	publish   *publishing
	client    *client    // runs while primary
	announcer *announcer // runs while the address is up
}

func newUplink(c config.WAN, k kernel, leaseFile dhcp.File, pubs []Publisher, log *slog.Logger, report func(wan.State)) *uplink {
	log = log.With("wan", c.Name)
	return &uplink{
		wan: c, kernel: k, config: clientConfig(c, leaseFile), log: log, report: report,
		machine: wan.New(c), inbox: newQueue(mergeEvents), publish: newPublishing(c, pubs, log),
		rounds: make(chan func(), 1),
	}
}

// mergeEvents keeps of orders the newest, and of the kernel's events one: one look
// at the kernel covers all events before it. So a WAN that is busy is never far
// behind. The look comes after the order that arrived meanwhile: what is observed is
// compared with that order.
func mergeEvents(waiting []wan.Event, e wan.Event) []wan.Event {
	switch e := e.(type) {
	case wan.Ordered:
		waiting = slices.DeleteFunc(waiting, func(o wan.Event) bool { _, older := o.(wan.Ordered); return older })
		look := slices.IndexFunc(waiting, func(o wan.Event) bool { _, is := o.(wan.KernelChanged); return is })
		if look >= 0 {
			return slices.Insert(waiting, look, wan.Event(e))
		}
	case wan.KernelChanged:
		for i, o := range waiting {
			if o, ok := o.(wan.KernelChanged); ok {
				waiting[i] = wan.KernelChanged{CarrierLost: o.CarrierLost || e.CarrierLost}
				return waiting
			}
		}
	}
	return append(waiting, e)
}

// adopt takes over what an earlier keeper left in the kernel, before run. It
// reports whether the WAN is up with an address that a remembered lease still
// covers.
func (u *uplink) adopt(ctx context.Context, o netif.Observed) (up bool) {
	u.step(ctx, wan.Found{Observed: o, Remembered: u.remembered()})
	return u.machine.State().Held
}

// remembered is what the lease file holds.
func (u *uplink) remembered() *dhcp.Lease {
	l, err := dhcp.ReadLease(u.config.LeaseFile)
	if err != nil {
		return nil
	}
	return l
}

// tell passes an event to the machine's queue.
func (u *uplink) tell(e wan.Event) { u.inbox.put(e) }

// run drives the WAN until ctx ends, and then leaves it as it is: the restart of a
// keeper must not interrupt it.
func (u *uplink) run(ctx context.Context) {
	var publishing sync.WaitGroup
	publishing.Go(func() { u.publish.run(ctx) })
	defer publishing.Wait()
	defer u.stopSending()
	timer, due := newTimer(), wan.Never
	for {
		if at := u.machine.Wake(); at != due {
			if due = at; due == wan.Never {
				timer.stop()
			} else {
				timer.set(due - dhcp.BootTime())
			}
		}
		select {
		case <-ctx.Done():
			return
		case made := <-u.rounds:
			made()
			continue
		case <-u.inbox.wake:
			for _, e := range u.inbox.take() {
				u.step(ctx, e)
			}
		case up := <-u.client.news():
			u.step(ctx, wan.LeaseChanged{Update: up})
		case <-u.client.ended():
			u.client.cancel()
			u.client = nil
			u.step(ctx, wan.ClientEnded{})
		case r := <-u.announcer.answers():
			u.step(ctx, wan.GatewayProbed{Reach: r})
		case <-timer.C:
			due = wan.Never // set it anew
			u.step(ctx, wan.Woke{})
		}
		u.report(u.machine.State())
	}
}

// step takes the machine through an event and executes what follows. A step that
// the end of ctx has cut short is the last one.
func (u *uplink) step(ctx context.Context, e wan.Event) {
	for e != nil && ctx.Err() == nil {
		e = u.once(ctx, e)
	}
}

// once executes what follows from an event at once. It returns the event that the
// machine wants next, nil if it waits for none.
func (u *uplink) once(ctx context.Context, e wan.Event) (next wan.Event) {
	for _, a := range u.machine.Step(dhcp.BootTime(), e) {
		if wan.IsCall(a) {
			return u.call(ctx, a)
		}
		u.execute(ctx, a)
	}
	return nil
}

// call executes an action that has a result.
func (u *uplink) call(ctx context.Context, a wan.Action) (d wan.Done) {
	start := time.Now()
	switch a := a.(type) {
	case wan.Observe:
		if a.Full {
			d.Observed, d.Err = u.kernel.Observe(ctx, wan.Link(u.wan))
			d.Remembered = u.remembered()
		} else {
			d.Observed, d.Err = u.kernel.Glance(ctx, wan.Link(u.wan))
		}
	case wan.Apply:
		if a.Repair && u.overtaken != nil && u.overtaken() {
			d.Overtaken = true
			break
		}
		a.Desired.Former = u.former
		d.Changes, d.Err = u.kernel.Apply(ctx, a.Desired)
		if d.Err == nil && a.Desired.Addr.IsValid() {
			u.former = a.Desired.Addr.Addr()
		}
	case wan.Mute:
		d.Err = u.kernel.Mute(ctx, wan.Link(u.wan))
	case wan.Purge:
		d.Deleted, d.Err = u.kernel.Purge(ctx, wan.Link(u.wan))
	case wan.Release:
		limited, cancel := context.WithTimeout(ctx, releaseLimit)
		d.Err = dhcp.Release(limited, u.config, a.Lease)
		cancel()
	case wan.StartDHCP:
		if l := u.remembered(); l != nil {
			u.former = l.Prefix.Addr() // the peer's sessions are of this address, if the ISP gives another one now
		}
		u.client, d.Err = startClient(ctx, u.exchange(ctx), u.log)
	}
	d.Took = time.Since(start)
	return d
}

// execute does what cannot fail.
func (u *uplink) execute(ctx context.Context, a wan.Action) {
	switch a := a.(type) {
	case wan.CancelDHCP:
		if u.client != nil {
			u.client.cancel()
		}
	case wan.StopSending:
		u.stopSending()
	case wan.Announce:
		u.announcer.stop()
		u.announcer = startAnnouncer(ctx, u.kernel, u.wan, a.Lease, a.Frames, u.log)
	case wan.StopAnnouncing:
		u.announcer.stop()
		u.announcer = nil
	case wan.SetCarrier:
		if u.client != nil {
			u.client.Carrier(a.Up)
		}
	case wan.ConfirmLease:
		if u.client != nil {
			u.client.Confirm()
		}
	case wan.Publish:
		u.publish.next.put(a.Lease)
	case wan.Log:
		u.log.Log(ctx, a.Level, a.Text, a.Args...)
	}
}

// stopSending ends everything of this process that could transmit with the shared
// MAC, and returns when it has ended.
func (u *uplink) stopSending() {
	if u.client != nil {
		u.client.cancel()
		<-u.client.done
		u.client = nil
	}
	u.announcer.stop()
	u.announcer = nil
}
