package netif

import (
	"context"
	"errors"
	"fmt"
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
	if !a.done.None() || len(a.done.Unusable) > 0 {
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
	// raised: the link is up, and stays whatever fails.
	raised bool
}

// run looks, plans and executes, and looks again where a step has an outcome that
// the kernel decides: what a new link is like, and which routes a link gets back that
// was down.
func (a *applying) run() error {
	for {
		s, err := a.read(a.d.Link)
		if err != nil {
			return err
		}
		p := planner{state: s, d: a.d, owner: a.owner}
		if err := p.plan(); err != nil {
			return err
		}
		again, err := a.execute(s, p.steps)
		if err != nil && a.done.Created && a.ctx.Err() == nil && !a.raised {
			if l, get := a.nl.getLink(a.d.Link.Name); get == nil {
				_, undo := a.deleteLink(a.ctx, &l)
				err = errors.Join(err, undo)
			}
		}
		if err != nil || !again {
			return err
		}
	}
}

// read asks the kernel for what a plan needs.
func (m *Manager) read(want Link) (s state, err error) {
	s.noAddrProto = m.noAddrProto
	if s.parent, err = m.nl.getLink(want.Parent); err != nil && !errors.Is(err, ErrNoLink) {
		return s, err
	}
	if s.link, err = m.nl.getLink(want.Name); errors.Is(err, ErrNoLink) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if s.addrs, err = m.nl.listAddrs(s.link.index); err != nil || len(s.addrs) == 0 {
		// Without an address there is no other route: the kernel flushes them with
		// the last one (fib_inetaddr_event). Asking costs a walk through the table,
		// which a promotion need not wait for.
		return s, err
	}
	s.routes, err = m.nl.listRoutes(s.link.index, 0)
	return s, err
}

// execute takes steps, and tells whether to look again before the rest of them.
func (a *applying) execute(s state, steps []Step) (again bool, err error) {
	var failed []error
	for _, step := range steps {
		if step.Op == EndSessions {
			a.endFormer(step)
			continue
		}
		err := a.take(&s, step)
		switch {
		case err == nil:
			a.did(step)
		case step.Op == AddRoute && a.ctx.Err() == nil:
			// What one route lacks another need not: the default one may be among
			// those that follow.
			if unusable(err) {
				a.done.Unusable = append(a.done.Unusable, UnusableRoute{Route: step.Route, Err: err})
			} else {
				failed = append(failed, err)
			}
		default:
			return false, errors.Join(append(failed, err)...)
		}
		if step.Op == AddLink || step.Op == SetUpLink && len(s.addrs) > 0 || step.Op == SetMTU && s.ipv6Returns(step.MTU) {
			return true, nil
		}
		if step.Op == DeleteLink {
			s.link, s.addrs = link{}, nil
		}
	}
	return false, errors.Join(failed...)
}

// endFormer ends the sessions of an address that is gone. That the WAN works does not
// depend on it.
func (a *applying) endFormer(step Step) {
	n, err := a.endSessions(step.Prefix.Addr())
	if err != nil {
		a.log.Warn("sessions of an address that was given up may hang", "address", step.Prefix.Addr(), "error", err)
	}
	if n > 0 {
		a.did(step)
		a.log.Debug("ended the sessions of an address that was given up", "address", step.Prefix.Addr(), "sessions", n)
	}
}

// unusable reports whether the kernel refused a route for what it says: a gateway
// that is a broadcast address or one of this router's own, or that is out of reach.
func unusable(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}

// did keeps account of a step.
func (a *applying) did(s Step) {
	a.done.Steps = append(a.done.Steps, s.Op.String())
	switch s.Op {
	case AddLink:
		a.done.Created = true
	case SetUpLink:
		a.raised = true
	case AddAddress:
		a.done.Addr = true
	case AddRoute, DeleteRoute:
		a.done.Routes = true
	case UnmuteLink:
		a.done.Unmuted = true
	}
}

// take executes one step.
func (a *applying) take(s *state, step Step) error {
	l := &s.link
	switch step.Op {
	case QuietParent:
		return a.quietParent(a.ctx, &s.parent)
	case SetUpParent:
		return a.setParentUp(a.ctx, &s.parent)
	case DeleteLink:
		_, err := a.deleteLink(a.ctx, l)
		return err
	case AddLink:
		return a.addLink(a.ctx, a.d.Link, &s.parent, step.MTU)
	case MuteLink:
		return a.muteLink(a.ctx, l, time.Now())
	case MarkLink:
		return a.markLink(a.ctx, l)
	case DisableIPv6:
		return a.silenceIPv6(a.ctx, l)
	case SetMTU:
		return a.setMTU(a.ctx, l, step.MTU)
	case SetUpLink:
		return a.raise(l, &s.parent)
	case AddAddress, SetLifetime:
		return a.setAddr(a.ctx, step.Op.String(), l, step.Prefix, step.Broadcast, seconds(step.Valid))
	case AddRoute:
		return a.addRoute(a.ctx, kernelRoute(step.Route, l.index, Protocol), step.Route.OnLink, l.name)
	case DeleteRoute:
		return a.deleteRoute(a.ctx, kernelRoute(step.Route, l.index, Protocol), l.name)
	case DeleteAddress:
		return a.deleteAddr(a.ctx, l, step.Prefix)
	case UnmuteLink:
		return a.unmute(a.ctx, l)
	}
	return fmt.Errorf("unknown step %v", step.Op)
}

// raise sets the link up.
func (a *applying) raise(l, parent *link) error {
	err := a.setUp(a.ctx, "set up link", l)
	// The MAC is taken: EADDRINUSE, on kernels before 5.18 EBUSY.
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EBUSY) {
		if err := a.evict(parent, err); err != nil {
			return err
		}
		err = a.setUp(a.ctx, "set up link", l)
	}
	return err
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
		if !a.owner.owns(&t, want.MAC) {
			return fmt.Errorf("set up %s: MAC %s on %s: %w by %s; give that another MAC or remove it", want.Name, want.MAC, want.Parent, ErrTwin, t.describe())
		}
	}
	if len(twins) == 0 {
		return fmt.Errorf("set up %s: MAC %s on %s: %w, perhaps by a macvlan in another network namespace (%w)", want.Name, want.MAC, want.Parent, ErrTwin, cause)
	}
	for _, t := range twins {
		if _, err := a.deleteLink(a.ctx, &t); err != nil {
			return err
		}
		a.did(Step{Op: DeleteLink})
		a.log.Debug("deleted a link of ours that held the MAC under another name", "link", t.name, "mac", want.MAC.String())
	}
	return nil
}
