package keeper

import (
	"errors"
	"fmt"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/netif"
)

// dryWAN prints what the machine of a WAN decides and pretends that it was done.
type dryWAN struct {
	*dryRun
	wan     config.WAN
	machine *wan.Machine
	seen    netif.Observed
	unseen  bool
	held    bool        // it has an address and may transmit
	lease   *dhcp.Lease // remembered, nil: none
	epoch   int
	at      time.Duration // how much later than now
	granted bool          // the DHCP client has reported the remembered lease
}

// order prints what follows from an order, to its end.
func (d *dryWAN) order(o wan.Order) {
	if d.unseen {
		return
	}
	d.epoch = o.Epoch
	o.Open = o.Role == intent.Primary // the commit, which is printed before, has ended
	d.step(wan.Ordered{Order: o})
	if s := d.machine.State(); s.WAN.State == control.StateMuted {
		d.at = d.machine.Wake() - d.now
		d.step(wan.Woke{})
	}
}

func (d *dryWAN) step(e wan.Event) {
	for e != nil {
		actions := d.machine.Step(d.now+d.at, e)
		e = nil
		for _, a := range actions {
			e = d.execute(a)
		}
	}
}

// execute prints an action and returns its result, nil if it has none.
func (d *dryWAN) execute(a wan.Action) wan.Event {
	switch a := a.(type) {
	case wan.Observe:
		return wan.Done{Observed: d.seen, Remembered: d.lease}
	case wan.Apply:
		return d.apply(a.Desired)
	case wan.Mute:
		return d.mute()
	case wan.Purge:
		return d.purge()
	case wan.StartDHCP:
		return d.startDHCP()
	case wan.Announce:
		if a.Frames {
			d.line("announce %s by ARP", a.Lease.Addr())
		}
	case wan.Publish:
		if a.Lease != nil {
			d.publish(a.Lease)
		} else if d.held {
			d.withdraw()
		}
	}
	return nil
}

func (d *dryWAN) line(format string, args ...any) {
	d.dryRun.step("%s: %s", d.wan.Name, fmt.Sprintf(format, args...))
}

// apply prints how the kernel differs from what is desired.
func (d *dryWAN) apply(want netif.Desired) wan.Done {
	steps, after, err := netif.Plan(d.seen, want)
	switch {
	case errors.Is(err, netif.ErrNoParent):
		d.problem("%s: parent %s does not exist", d.wan.Name, d.wan.Parent)
	case errors.Is(err, netif.ErrForeign):
		d.problem("%s: a %s of this name is not wanfail's", d.wan.Name, d.seen.Kind)
	case err != nil:
		d.problem("%s: %v", d.wan.Name, err)
	}
	if err != nil {
		return wan.Done{Err: err}
	}
	var c netif.Changes
	for _, s := range steps {
		switch s.Op {
		case netif.AddLink:
			c.Created = true
		case netif.UnmuteLink:
			c.Unmuted = true
		case netif.AddAddress:
			c.Addr = true
			left := "infinite"
			if s.Valid != netif.Forever {
				left = s.Valid.Round(time.Second).String() + " left"
			}
			d.line("%s (remembered lease, %s)", s, left)
			continue
		}
		if !s.Op.Minor() {
			d.line("%s", s)
		}
	}
	d.seen = after
	return wan.Done{Changes: c}
}

// startDHCP prints what the client will do, unless it does it already.
func (d *dryWAN) startDHCP() wan.Event {
	adopted := d.machine.State().Held && d.held
	switch {
	case adopted:
	case d.lease != nil:
		d.line("confirm the remembered lease by DHCP")
	default:
		d.line("ask for a lease by DHCP")
		d.publish(nil)
	}
	d.step(wan.Done{})
	if d.lease == nil || d.granted || adopted {
		return nil
	}
	d.granted = true
	granted := *d.lease
	return wan.LeaseChanged{Update: dhcp.Update{State: dhcp.Bound, Lease: &granted}}
}

func (d *dryWAN) mute() wan.Done {
	if !d.seen.Exists {
		return wan.Done{}
	}
	if !d.seen.Owned {
		d.problem("%s: a %s of this name is not wanfail's and stays", d.wan.Name, d.seen.Kind)
		return wan.Done{Err: netif.ErrForeign}
	}
	if !d.seen.Muted {
		for _, a := range d.seen.Addresses {
			d.line("silence %s", a.Prefix)
		}
		if len(d.seen.Addresses) == 0 {
			d.line("silence")
		}
	}
	d.seen.Muted = true
	return wan.Done{}
}

func (d *dryWAN) purge() wan.Done {
	if !d.seen.Exists {
		return wan.Done{}
	}
	if !d.seen.Owned {
		return wan.Done{Err: netif.ErrForeign}
	}
	after := ""
	if d.at > 0 {
		after = fmt.Sprintf(" %v later, when the peer has the connections", d.at)
	}
	d.line("delete macvlan%s", after)
	return wan.Done{Deleted: true}
}

// publish prints which publishers would get the lease, nil if it is not known yet.
func (d *dryWAN) publish(l *dhcp.Lease) {
	for _, pub := range d.Publishers {
		servers := ""
		if _, ok := pub.(Resolver); ok {
			if !d.wan.PeerDNS || l != nil && len(l.DNS) == 0 {
				continue
			}
			if l != nil {
				servers = fmt.Sprintf(": name servers %v", l.DNS)
			}
		}
		d.line("tell %s of the lease%s", pub, servers)
	}
	d.event(dhcp.LeaseBound)
}

// withdraw prints which publishers would withdraw the lease.
func (d *dryWAN) withdraw() {
	for _, pub := range d.Publishers {
		if _, ok := pub.(Resolver); !ok || d.wan.PeerDNS {
			d.line("take the lease back from %s", pub)
		}
	}
	d.event(dhcp.LeaseLost)
}
