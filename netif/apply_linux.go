package netif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Apply makes the kernel equal d. It writes nothing where that is so already;
// what others changed on the link, it sets right; what others added, it leaves.
// A link of ours with another parent or MAC is made anew. A parent that is
// administratively down is set up, and one that would answer ARP for the WAN's
// address is kept from it (arp_ignore): the WAN port is wanfail's to use.
//
// The error is, among others, ErrNoParent, ErrForeign, ErrTwin or ErrPermission.
// A link that could not be made silent and set up is removed again; one that
// was mute stays so on any error. When ctx ends, Apply stops before its next
// write and the kernel keeps what was done.
func (m *Manager) Apply(ctx context.Context, d Desired) (Changes, error) {
	if err := d.validate(); err != nil {
		return Changes{}, err
	}
	defer m.lock(d.Link.Name)()
	a := applying{Manager: m, ctx: ctx, d: d}
	start := time.Now()
	err := a.run()
	if !a.done.None() {
		m.log.Debug("wan changed", "link", d.Link.Name, "steps", a.done.Steps, "took", time.Since(start), "error", err)
	}
	return a.done, err
}

// applying is one run of Apply.
type applying struct {
	*Manager
	ctx  context.Context
	d    Desired
	done Changes
}

// did keeps account of a write; a nil error means that it happened.
func (a *applying) did(err error, step string) error {
	if err == nil {
		a.done.Steps = append(a.done.Steps, step)
	}
	return err
}

func (a *applying) run() error {
	parent, err := a.parent()
	if err != nil {
		return err
	}
	l, err := a.link(&parent)
	if err != nil {
		return err
	}
	if err := a.address(&l); err != nil {
		return err
	}
	if l.muted() {
		if err := a.did(a.unmute(a.ctx, &l), "unmute link"); err != nil {
			return err
		}
		a.done.Unmuted = true
	}
	return nil
}

// parent finds the parent, has it answer ARP for its own addresses only, and
// sets it up.
func (a *applying) parent() (link, error) {
	p, err := a.nl.getLink(a.d.Link.Parent)
	switch {
	case errors.Is(err, ErrNoLink):
		return link{}, fmt.Errorf("find parent %s of %s: %w", a.d.Link.Parent, a.d.Link.Name, ErrNoParent)
	case err != nil:
		return link{}, err
	case p.hardware != arphrdEther || p.flags&unix.IFF_LOOPBACK != 0:
		return link{}, fmt.Errorf("parent %s of %s is not an Ethernet device", p.name, a.d.Link.Name)
	}
	if p.arpIgnore == 0 {
		if err := a.did(a.quietParent(a.ctx, &p), "quiet parent"); err != nil {
			return link{}, err
		}
	}
	if !p.up() {
		if err := a.did(a.setParentUp(a.ctx, &p), "set up parent"); err != nil {
			return link{}, err
		}
	}
	return p, nil
}

// link finds or makes the macvlan, marked, silenced and up.
func (a *applying) link(parent *link) (link, error) {
	want := a.d.Link
	// More than the parent's MTU is refused by the kernel, and would not fit.
	mtu := parent.mtu
	if want.MTU != 0 {
		mtu = min(want.MTU, parent.mtu)
	}
	l, err := a.nl.getLink(want.Name)
	switch {
	case errors.Is(err, ErrNoLink):
	case err != nil:
		return link{}, err
	case !l.owned(want.MAC) || l.name != want.Name: // the name may be an alternative one
		return link{}, a.foreign(&l)
	case l.parent != parent.lower() || !l.hasMAC(want.MAC) || l.mode != macvlanModeBridge:
		if _, err := a.deleteLink(a.ctx, &l); a.did(err, "delete link") != nil {
			return link{}, err
		}
		l = link{}
	}
	if l.index == 0 {
		if err := a.did(a.addLink(a.ctx, want, parent, mtu), "add link"); err != nil {
			return link{}, err
		}
		a.done.Created = true
		if l, err = a.nl.getLink(want.Name); err != nil {
			return link{}, err
		}
	}
	if err := a.raise(&l, parent, mtu); err != nil {
		if a.done.Created && a.ctx.Err() == nil {
			_, undo := a.deleteLink(a.ctx, &l)
			err = errors.Join(err, undo)
		}
		return link{}, err
	}
	return l, nil
}

func (m *Manager) foreignError(l *link, what string) error {
	return fmt.Errorf("%s: %s exists: %w; remove or rename it, or choose another name for the WAN", what, l.describe(), ErrForeign)
}

func (a *applying) foreign(l *link) error {
	return a.foreignError(l, fmt.Sprintf("make %s on %s", a.d.Link.Name, a.d.Link.Parent))
}

// raise brings a link of ours from any state to marked, silent and up, in this
// order.
func (a *applying) raise(l, parent *link, mtu int) error {
	if l.group != Group || l.alias != Alias || !l.promote || l.arpIgnore == 0 || l.ipv6.present && !l.ipv6.quiet {
		if err := a.did(a.markLink(a.ctx, l), "mark link"); err != nil {
			return err
		}
	}
	if l.ipv6.present && !l.ipv6.disabled {
		if err := a.did(a.silenceIPv6(a.ctx, l), "disable ipv6"); err != nil {
			return err
		}
	}
	if l.mtu != mtu {
		if err := a.did(a.setMTU(a.ctx, l, mtu), "set mtu"); err != nil {
			return err
		}
	}
	if l.up() {
		return nil
	}
	err := a.setUp(a.ctx, "set up link", l)
	// The MAC is taken: EADDRINUSE, on kernels before 5.18 EBUSY.
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EBUSY) {
		if err := a.evict(parent, err); err != nil {
			return err
		}
		err = a.setUp(a.ctx, "set up link", l)
	}
	return a.did(err, "set up link")
}

// evict makes room for the MAC: links of ours that have it under another name
// are deleted, others are named in the error.
func (a *applying) evict(parent *link, cause error) error {
	want := a.d.Link
	twins, err := a.nl.findTwins(want.Name, parent, want.MAC)
	if err != nil {
		return errors.Join(cause, err)
	}
	for _, t := range twins {
		if !t.owned(want.MAC) {
			return fmt.Errorf("set up %s: MAC %s on %s: %w by %s; give that another MAC or remove it", want.Name, want.MAC, want.Parent, ErrTwin, t.describe())
		}
	}
	if len(twins) == 0 {
		return fmt.Errorf("set up %s: MAC %s on %s: %w, perhaps by a macvlan in another network namespace (%w)", want.Name, want.MAC, want.Parent, ErrTwin, cause)
	}
	for _, t := range twins {
		if _, err := a.deleteLink(a.ctx, &t); a.did(err, "delete link") != nil {
			return err
		}
		a.log.Debug("deleted a link of ours that held the MAC under another name", "link", t.name, "mac", want.MAC.String())
	}
	return nil
}

// address brings address and routes to what is desired: everything new first,
// then what an earlier lease left.
func (a *applying) address(l *link) error {
	addrs, err := a.nl.listAddrs(l.index)
	if err != nil {
		return err
	}
	if a.d.Addr.IsValid() {
		if err := a.ensureAddr(l, addrs); err != nil {
			return err
		}
	}
	have := a.prefixRoute(l)
	if len(addrs) > 0 {
		// Without an address there was no other route: the kernel flushes them
		// with the last one (fib_inetaddr_event). Asking costs a walk through
		// the table, which a promotion need not wait for.
		if have, err = a.nl.listRoutes(l.index, 0); err != nil {
			return err
		}
	}
	if err := a.routes(l, have); err != nil {
		return err
	}
	removed := false
	for _, have := range addrs {
		if have.owned() && have.prefix != a.d.Addr {
			if err := a.did(a.deleteAddr(a.ctx, l, have.prefix), "delete address"); err != nil {
				return err
			}
			removed = true
		}
	}
	if removed && a.d.Addr.IsValid() {
		// The kernel's own route of the removed prefix went with it, and may
		// have stood in for a desired one.
		if have, err = a.nl.listRoutes(l.index, 0); err != nil {
			return err
		}
		return a.routes(l, have)
	}
	return nil
}

// prefixRoute is the route that the kernel makes for the desired address.
func (a *applying) prefixRoute(l *link) []route {
	if !a.d.Addr.IsValid() || a.d.Addr.Bits() == 32 {
		return nil
	}
	return []route{kernelRoute(Route{Dst: a.d.Addr.Masked()}, l.index, unix.RTPROT_KERNEL)}
}

func (a *applying) ensureAddr(l *link, addrs []address) error {
	valid := seconds(a.d.Valid)
	i := slices.IndexFunc(addrs, func(h address) bool { return h.prefix == a.d.Addr })
	switch {
	case i < 0:
		if err := a.did(a.setAddr(a.ctx, "add address", l, a.d.Addr, a.d.Broadcast, valid), "add address"); err != nil {
			return err
		}
		a.done.Addr = true
	case !sameLifetime(addrs[i].valid, valid):
		return a.did(a.setAddr(a.ctx, "set lifetime", l, a.d.Addr, a.d.Broadcast, valid), "set lifetime")
	}
	return nil
}

// routes adds the routes that have lacks, those to the link first since gateways
// of others may lie behind them, and then removes ours that are not desired.
func (a *applying) routes(l *link, have []route) error {
	want := slices.Clone(a.d.Routes)
	slices.SortStableFunc(want, func(r, s Route) int {
		switch {
		case r.Gateway.IsValid() == s.Gateway.IsValid():
			return 0
		case s.Gateway.IsValid():
			return -1
		}
		return 1
	})
	kept := make([]route, 0, len(want))
	for _, w := range want {
		r := kernelRoute(w, l.index, Protocol)
		if slices.Contains(kept, r) {
			continue
		}
		kept = append(kept, r)
		if slices.ContainsFunc(have, r.sameWay) {
			continue
		}
		onlink := w.OnLink || !a.d.Addr.Contains(w.Gateway)
		if err := a.did(a.addRoute(a.ctx, r, onlink, l.name), "add route"); err != nil {
			return err
		}
		a.done.Routes = true
	}
	for _, h := range have {
		if h.proto == Protocol && !slices.ContainsFunc(kept, h.sameWay) {
			if err := a.did(a.deleteRoute(a.ctx, h, l.name), "delete route"); err != nil {
				return err
			}
			a.done.Routes = true
		}
	}
	return nil
}
