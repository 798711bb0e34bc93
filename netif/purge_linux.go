package netif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Purge deletes the link, and any other link of ours that has its MAC on the
// same parent (a renamed one, one of an earlier name). It reports whether it
// deleted any; none to delete is no error.
//
// A foreign link is never deleted. One that has the name is ErrForeign, one
// that has the MAC on the same parent ErrTwin: it can speak in our stead, and
// somebody should know. Ours are deleted all the same.
//
// The end of ctx does not stop it.
func (m *Manager) Purge(ctx context.Context, want Link) (bool, error) {
	if err := want.validate(); err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	defer m.lock(want.Name)()
	start := time.Now()
	links, err := m.nl.listLinks(macvlanKind)
	if err != nil {
		return false, err
	}
	lower := 0
	if p, err := m.nl.getLink(want.Parent); err == nil {
		lower = p.lower()
	}
	var (
		errs    []error
		deleted []string
		named   bool
	)
	for _, l := range links {
		named = named || l.name == want.Name
		twin := l.hasMAC(want.MAC) && l.parent == lower
		switch {
		case m.owner.owns(&l, want.MAC) && (l.name == want.Name || twin):
			ok, err := m.deleteLink(ctx, &l)
			if ok {
				deleted = append(deleted, l.name)
			}
			errs = append(errs, err)
		case l.name == want.Name:
			errs = append(errs, m.owner.foreign(&l, "purge "+want.Name))
		case twin:
			errs = append(errs, fmt.Errorf("purge %s: MAC %s on %s: %w by %s; give that another MAC or remove it",
				want.Name, want.MAC, want.Parent, ErrTwin, l.describe()))
		}
	}
	if !named { // a link of another kind may have the name
		l, err := m.nl.getLink(want.Name)
		switch {
		case err == nil && l.kind != macvlanKind:
			errs = append(errs, m.owner.foreign(&l, "purge "+want.Name))
		case err != nil && !errors.Is(err, ErrNoLink):
			errs = append(errs, err)
		}
	}
	if len(deleted) > 0 {
		m.log.Debug("wan purged", "links", deleted, "took", time.Since(start))
	}
	return len(deleted) > 0, errors.Join(errs...)
}

// Orphans lists the links of ours that belong to none of configured, neither by name
// nor by parent and MAC: those of a WAN that is no longer configured. Each can be
// passed to Mute and Purge.
func (m *Manager) Orphans(_ context.Context, configured []Link) ([]Link, error) {
	links, err := m.nl.listLinks("")
	if err != nil {
		return nil, err
	}
	byIndex := make(map[int]*link, len(links))
	for i := range links {
		byIndex[links[i].index] = &links[i]
	}
	var orphans []Link
	for _, l := range links {
		known := slices.ContainsFunc(configured, func(c Link) bool {
			p := byIndex[l.parent]
			return l.name == c.Name || l.hasMAC(c.MAC) && p != nil && p.named(c.Parent)
		})
		if m.owner.made(&l) && !known {
			o := Link{Name: l.name, MAC: []byte(l.mac), MTU: l.mtu}
			if p := byIndex[l.parent]; p != nil {
				o.Parent = p.name
			}
			orphans = append(orphans, o)
		}
	}
	return orphans, nil
}

// PurgeOrphans deletes the Orphans and returns their names.
func (m *Manager) PurgeOrphans(ctx context.Context, configured []Link) ([]string, error) {
	orphans, err := m.Orphans(ctx, configured)
	if err != nil {
		return nil, err
	}
	var (
		names []string
		errs  []error
	)
	for _, o := range orphans {
		if o.Parent == "" {
			// The parent moved to another namespace; any valid name does,
			// it is only used to look for foreign twins.
			o.Parent = "-"
		}
		deleted, err := m.Purge(ctx, o)
		if deleted {
			names = append(names, o.Name)
		}
		errs = append(errs, err)
	}
	return names, errors.Join(errs...)
}

// MuteOrphans mutes the Orphans, all links of ours if none is configured.
func (m *Manager) MuteOrphans(ctx context.Context, configured []Link) error {
	orphans, err := m.Orphans(ctx, configured)
	errs := []error{err}
	for _, o := range orphans {
		if o.Parent == "" {
			o.Parent = "-" // moved to another namespace
		}
		errs = append(errs, m.Mute(ctx, o))
	}
	return errors.Join(errs...)
}
