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

// Mute stops every transmission of the link: when it returns nil no frame of it is
// handed to the parent any more, whoever sends. Link, address, routes and
// conntrack entries stay, and what arrives is still received. Apply undoes it. The
// package comment says how and why.
//
// There are two locks, the queueing discipline and the link's carrier
// (proto_down). One of them is enough; a Mute of a link that has lost one puts it
// back.
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
	case !m.owner.owns(&l, want.MAC) || l.name != want.Name:
		return m.owner.foreign(&l, "mute "+want.Name)
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
		if m.owner.owns(&l, want.MAC) {
			errs = append(errs, m.muteLink(ctx, &l, time.Now()))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) muteLink(ctx context.Context, l *link, start time.Time) error {
	if err := m.replaceRoot(ctx, l, start); err != nil {
		return err
	}
	return m.lockCarrier(ctx, l)
}

// replaceRoot puts the first lock on: when the kernel answers, transmissions that
// were under way have ended.
func (m *Manager) replaceRoot(ctx context.Context, l *link, start time.Time) error {
	if l.blackholed() {
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

// lockCarrier puts the second lock on: without carrier the kernel gives the link
// no discipline that transmits, whichever is attached to it. A kernel that cannot do
// it (before 5.0) says so, and the first lock is all there is.
func (m *Manager) lockCarrier(ctx context.Context, l *link) error {
	if l.carrierLocked() || m.noProtoDown.Load() {
		return nil
	}
	err := m.setProtoDown(ctx, "lock carrier", l, 1)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		m.noProtoDown.Store(true)
		m.log.Debug("kernel cannot take the carrier of a macvlan away: the queueing discipline alone keeps it mute", "link", l.name)
		return nil
	case gone(err):
		return nil
	}
	return err
}

func (m *Manager) setProtoDown(ctx context.Context, step string, l *link, down uint8) error {
	return m.write(ctx, step, l.name, unix.RTM_SETLINK, 0, l.ref(), nl.NewRtAttr(unix.IFLA_PROTO_DOWN, nl.Uint8Attr(down)))
}

// unmute takes both locks off, the discipline last: deleting it makes the kernel
// activate the link at once, while the return of a carrier alone is acted upon some
// time later (linkwatch).
func (m *Manager) unmute(ctx context.Context, l *link) error {
	if l.protoDown {
		if err := m.setProtoDown(ctx, "unlock carrier", l, 0); err != nil {
			return fmt.Errorf("unmute %s: %w", l.name, err)
		}
	}
	if !l.blackholed() {
		return nil
	}
	err := m.write(ctx, "unmute link", l.name, unix.RTM_DELQDISC, 0, l.root())
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		// Somebody else removed it: then there is nothing to remove.
		if now, get := m.nl.getLink(l.name); get == nil && !now.blackholed() {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("unmute %s: %w", l.name, err)
	}
	return nil
}

// root is the header of a request about the root discipline of the link.
func (l *link) root() *nl.TcMsg {
	return &nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(l.index), Parent: netlink.HANDLE_ROOT}
}
