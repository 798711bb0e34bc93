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
	o.MAC, o.MTU, o.Up, o.Carrier, o.Muted = l.macString(), l.mtu, l.up(), l.carrier(), l.muted()
	if l.parent == parent.lower() {
		o.Parent = parent.name
	}
	return o, nil
}
