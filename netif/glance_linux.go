package netif

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Glance is Observe without what has to be listed: neither addresses and routes
// nor warnings. It costs two questions to the kernel, however many links there
// are, so it may follow each event.
func (m *Manager) Glance(_ context.Context, want Link) (Observed, error) {
	if err := want.validate(); err != nil {
		return Observed{}, err
	}
	var s state
	var err error
	if s.parent, err = m.nl.getLink(want.Parent); err != nil && !errors.Is(err, ErrNoLink) {
		return Observed{}, err
	}
	if s.link, err = m.nl.getLink(want.Name); err != nil && !errors.Is(err, ErrNoLink) {
		return Observed{}, err
	}
	var o Observed
	o.fill(s, want, m.owner)
	o.Loose = o.Muted && !m.locked(&s.link)
	o.state = state{} // incomplete: nothing to Plan by
	return o, nil
}

// locked reports whether every lock that this kernel has is on a mute link.
func (m *Manager) locked(l *link) bool {
	return l.blackholed() && (l.carrierLocked() || m.noProtoDown.Load())
}

// fill translates what the kernel holds.
func (o *Observed) fill(s state, want Link, own owner) {
	o.state, o.owner = s, own
	p, l := &s.parent, &s.link
	if o.ParentExists = p.index != 0; o.ParentExists {
		o.ParentUp, o.ParentCarrier, o.ParentMAC, o.ParentMTU = p.up(), p.carrier(), p.macString(), p.mtu
	}
	if o.Exists = l.index != 0; !o.Exists {
		return
	}
	o.Owned, o.Kind = own.owns(l, want.MAC) && l.name == want.Name, l.kind
	o.Matches = o.Owned && l.hasMAC(want.MAC) && o.ParentExists && l.parent == p.lower()
	o.MAC, o.MTU, o.Up, o.Muted = l.macString(), l.mtu, l.up(), l.muted()
	// After an unmute the link has its carrier although the parent may have none.
	o.Carrier = l.carrier() && (o.ParentCarrier || !o.ParentExists)
	if l.parent != 0 && l.parent == p.lower() {
		o.Parent = p.name
	}
	o.Addresses, o.Routes = nil, nil
	for _, a := range s.addrs {
		valid := Forever
		if a.valid != ifaForever {
			valid = time.Duration(a.valid) * time.Second
		}
		o.Addresses = append(o.Addresses, Address{Prefix: a.prefix, Valid: valid, Owned: a.owned()})
	}
	for _, r := range s.routes {
		if r.proto != unix.RTPROT_KERNEL {
			o.Routes = append(o.Routes, r.public())
		}
	}
}
