package netif

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// muteKind is the queueing discipline that drops everything.
const muteKind = "blackhole"

// Mute takes the link's voice: when it returns nil no frame of it is handed to
// the parent any more, whoever sends. Link, address, routes and conntrack
// entries stay, and what arrives is still received. Apply undoes it. The
// package comment says how and why.
//
// A link that does not exist is mute. One of ours that was renamed is found by
// its MAC. A foreign link is left alone: ErrForeign. A queueing discipline that
// somebody attached to the root of the link, such as cake, is lost.
//
// The end of ctx does not stop it: silence is not to be called off half way.
func (m *Manager) Mute(ctx context.Context, want Link) error {
	if err := want.validate(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	defer m.lock(want.Name)()
	start := time.Now()
	l, err := m.nl.getLink(want.Name)
	switch {
	case errors.Is(err, ErrNoLink):
		return m.muteRenamed(ctx, want)
	case err != nil:
		return err
	case !l.owned(want.MAC) || l.name != want.Name:
		return m.foreignError(&l, "mute "+want.Name)
	}
	return m.muteLink(ctx, &l, start)
}

// muteRenamed mutes links of ours that hold the MAC on the parent under another
// name.
func (m *Manager) muteRenamed(ctx context.Context, want Link) error {
	parent, err := m.nl.getLink(want.Parent)
	if errors.Is(err, ErrNoLink) { // macvlans go with their parent
		return nil
	}
	if err != nil {
		return err
	}
	links, err := m.nl.findTwins(want.Name, &parent, want.MAC)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		if l.owned(want.MAC) {
			errs = append(errs, m.muteLink(ctx, &l, time.Now()))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) muteLink(ctx context.Context, l *link, start time.Time) error {
	if l.muted() {
		return nil
	}
	err := m.write(ctx, "mute link", l.name, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		l.root(), nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(m.muteKind)))
	switch {
	case err == nil:
		m.log.Debug("wan muted", "link", l.name, "took", time.Since(start))
		return nil
	case gone(err):
		// The kind of discipline is unknown, or the link has gone meanwhile.
		if _, missing := m.nl.getLink(l.name); errors.Is(missing, ErrNoLink) {
			return nil
		}
	case !errors.Is(err, unix.EOPNOTSUPP): // no packet schedulers in this kernel
		return err
	}
	m.log.Warn("kernel cannot mute (it lacks packet schedulers, CONFIG_NET_SCHED), setting the link down: sessions may be lost", "link", l.name, "error", err)
	if down := m.setDown(ctx, "set down link", l); down != nil && !gone(down) {
		return errors.Join(err, down)
	}
	return nil
}

// unmute gives the link back the discipline that the kernel chooses.
func (m *Manager) unmute(ctx context.Context, l *link) error {
	err := m.write(ctx, "unmute link", l.name, unix.RTM_DELQDISC, 0, l.root())
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		// Somebody else removed it: then there is nothing to remove.
		if now, get := m.nl.getLink(l.name); get == nil && !now.muted() {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("let %s speak: %w", l.name, err)
	}
	return nil
}

// root is the header of a request about the root discipline of the link.
func (l *link) root() *nl.TcMsg {
	return &nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(l.index), Parent: netlink.HANDLE_ROOT}
}
