package netif

import (
	"context"
	"errors"
)

// Glance is Observe without what has to be listed: neither addresses and routes
// nor warnings. It costs two questions to the kernel, however many links there
// are, so it may follow each event.
func (m *Manager) Glance(_ context.Context, want Link) (Observed, error) {
	if err := want.validate(); err != nil {
		return Observed{}, err
	}
	var o Observed
	parent, err := m.nl.getLink(want.Parent)
	switch {
	case err == nil:
		o.ParentExists, o.ParentUp, o.ParentCarrier = true, parent.up(), parent.carrier()
		o.ParentMAC, o.ParentMTU = parent.macString(), parent.mtu
	case !errors.Is(err, ErrNoLink):
		return Observed{}, err
	}
	l, err := m.nl.getLink(want.Name)
	if errors.Is(err, ErrNoLink) {
		return o, nil
	}
	if err != nil {
		return Observed{}, err
	}
	o.Exists, o.Owned, o.Kind = true, l.owned(want.MAC) && l.name == want.Name, l.kind
	o.Matches = o.Owned && l.hasMAC(want.MAC) && o.ParentExists && l.parent == parent.lower()
	m.observeState(&o, &l)
	if l.parent == parent.lower() {
		o.Parent = parent.name
	}
	return o, nil
}

// observeState fills in what a link message says of the link.
func (m *Manager) observeState(o *Observed, l *link) {
	o.MAC, o.MTU, o.Up, o.Muted = l.macString(), l.mtu, l.up(), l.muted()
	o.Loose = o.Muted && !(l.blackholed() && (l.carrierLocked() || m.noProtoDown.Load()))
	// After an unmute the link has its carrier although the parent may have none.
	o.Carrier = l.carrier() && (o.ParentCarrier || !o.ParentExists)
}
