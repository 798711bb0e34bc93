package netif

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// state is what the kernel holds of a WAN, as far as a plan needs it.
type state struct {
	parent, link link // index 0: there is none
	addrs        []address
	routes       []route // over the link in the main table

	noAddrProto bool // the kernel does not keep who put an address there
}

// Plan tells what Apply would do to what was observed, and what would be observed
// then. It asks nobody. Others may change the kernel meanwhile, and what a new link
// is like the kernel decides: Apply looks again where that matters.
//
// The error is ErrNoParent or ErrForeign, or says what is wrong with d.
func Plan(o Observed, d Desired) (steps []Step, after Observed, err error) {
	if err := d.validate(); err != nil {
		return nil, o, err
	}
	p := planner{state: o.state, d: d, owner: o.owner}
	if err := p.plan(); err != nil {
		return nil, o, err
	}
	after = o
	after.fill(p.state, d.Link, o.owner)
	after.Loose = false
	return p.steps, after, nil
}

// planner compares state with d. Each step that it adds it also takes in state.
type planner struct {
	state
	d     Desired
	owner owner
	steps []Step
}

func (p *planner) step(op Op, s Step) {
	s.Op = op
	if s.Device == "" {
		s.Device = p.d.Link.Name
	}
	p.steps = append(p.steps, s)
}

// plan has everything new before what it replaces, so that there is a way to the
// internet throughout, and the end of silence last.
func (p *planner) plan() error {
	if err := p.planParent(); err != nil {
		return err
	}
	if err := p.planLink(); err != nil {
		return err
	}
	p.planAddress()
	p.planRoutes()
	p.planRemovals()
	if p.link.blackholed() || p.link.protoDown {
		p.step(UnmuteLink, Step{})
		p.link.qdisc, p.link.protoDown = "noqueue", false
	}
	if f := p.d.Former; f.Is4() && p.d.Addr.IsValid() && f != p.d.Addr.Addr() {
		p.step(EndSessions, Step{Prefix: netip.PrefixFrom(f, 32)})
	}
	return nil
}

func (p *planner) planParent() error {
	want := p.d.Link
	switch {
	case p.parent.index == 0:
		return fmt.Errorf("find parent %s of %s: %w", want.Parent, want.Name, ErrNoParent)
	case p.parent.hardware != arphrdEther || p.parent.flags&unix.IFF_LOOPBACK != 0:
		return fmt.Errorf("parent %s of %s is not an Ethernet device", p.parent.name, want.Name)
	}
	if p.parent.arpIgnore == 0 {
		p.step(QuietParent, Step{Device: p.parent.name})
		p.parent.arpIgnore = arpIgnoreOthers
	}
	if !p.parent.up() {
		p.step(SetUpParent, Step{Device: p.parent.name})
		p.parent.flags |= unix.IFF_UP
	}
	return nil
}

func (p *planner) planLink() error {
	want := p.d.Link
	// More than the parent's MTU is refused by the kernel, and would not fit.
	mtu := p.parent.mtu
	if want.MTU != 0 {
		mtu = min(want.MTU, mtu)
	}
	l := &p.link
	switch {
	case l.index == 0:
	case !p.owner.owns(l, want.MAC) || l.name != want.Name: // the name may be an alternative one
		return p.owner.foreign(l, fmt.Sprintf("make %s on %s", want.Name, want.Parent))
	case l.parent != p.parent.lower() || !l.hasMAC(want.MAC) || l.mode != macvlanModeBridge:
		p.step(DeleteLink, Step{})
		p.link, p.addrs, p.routes = link{}, nil, nil
	}
	if l.index == 0 {
		p.step(AddLink, Step{Parent: want.Parent, MAC: want.MAC.String(), MTU: mtu})
		p.link = link{
			index: newIndex, parent: p.parent.lower(), hardware: arphrdEther, name: want.Name, kind: macvlanKind,
			mac: string(want.MAC), mtu: mtu, group: p.owner.group, mode: macvlanModeBridge,
			ipv6: ipv6State{present: p.parent.ipv6.present && mtu >= minMTUv6},
		}
	}
	if l.mtu != mtu {
		p.planMTU(mtu)
	}
	if l.group != p.owner.group || l.alias != p.owner.alias || !l.promote || l.arpIgnore == 0 || l.ipv6.present && !l.ipv6.quiet {
		p.step(MarkLink, Step{})
		l.group, l.alias, l.promote, l.arpIgnore, l.ipv6.quiet = p.owner.group, p.owner.alias, true, max(l.arpIgnore, arpIgnoreOthers), true
	}
	if l.ipv6.present && !l.ipv6.disabled {
		p.step(DisableIPv6, Step{})
		l.ipv6.disabled = true
	}
	if !l.up() {
		p.step(SetUpLink, Step{})
		l.flags |= unix.IFF_UP | p.parent.flags&unix.IFF_LOWER_UP
	}
	return nil
}

// planMTU changes the MTU. Below 1280 the kernel takes IPv6 off a link; above, it
// makes it anew, with the settings for new links, and begins to send at once if the
// link is up: so the link is mute until that is switched off again.
func (p *planner) planMTU(mtu int) {
	l := &p.link
	if p.ipv6Returns(mtu) {
		if l.up() && !l.muted() {
			p.step(MuteLink, Step{})
			l.qdisc, l.protoDown = muteKind, true
		}
		l.ipv6 = ipv6State{present: p.parent.ipv6.present}
	}
	p.step(SetMTU, Step{MTU: mtu})
	l.mtu = mtu
	if mtu < minMTUv6 {
		l.ipv6 = ipv6State{}
	}
}

// ipv6Returns reports whether a change of the MTU brings IPv6 back.
func (s *state) ipv6Returns(mtu int) bool {
	return !s.link.ipv6.present && s.link.mtu < minMTUv6 && mtu >= minMTUv6
}

// minMTUv6 is the least that IPv6 allows (RFC 8200).
const minMTUv6 = 1280

// newIndex stands for the index that the kernel will give a new link.
const newIndex = -1

func (p *planner) planAddress() {
	d := p.d
	if !d.Addr.IsValid() {
		return
	}
	valid := seconds(d.Valid)
	if p.noAddrProto && valid == ifaForever {
		valid, d.Valid = almostForever, almostForever*time.Second
	}
	i := slices.IndexFunc(p.addrs, func(h address) bool { return h.prefix == d.Addr })
	switch s := (Step{Prefix: d.Addr, Broadcast: d.Broadcast, Valid: d.Valid}); {
	case i < 0:
		p.step(AddAddress, s)
		p.addrs = append(slices.Clone(p.addrs), address{prefix: d.Addr, valid: valid, proto: Protocol})
		if d.Addr.Bits() < 32 { // the kernel makes a route to the prefix
			p.routes = append(slices.Clone(p.routes), kernelRoute(Route{Dst: d.Addr.Masked()}, p.link.index, unix.RTPROT_KERNEL))
		}
	case !sameLifetime(p.addrs[i].valid, valid):
		p.step(SetLifetime, s)
		p.addrs = slices.Clone(p.addrs)
		p.addrs[i].valid = valid
	}
}

// order puts default routes first: what else fails, the internet is to be had. Then
// come those to the link, behind which gateways of the others may lie.
func order(r Route) int {
	switch {
	case r.Dst.Bits() == 0:
		return 0
	case !r.Gateway.IsValid():
		return 1
	}
	return 2
}

// planRoutes adds the routes that are missing, and then removes ours that are not
// desired.
func (p *planner) planRoutes() {
	want := slices.Clone(p.d.Routes)
	slices.SortStableFunc(want, func(r, s Route) int { return order(r) - order(s) })
	have := p.routes
	var kept []route
	for _, w := range want {
		r := kernelRoute(w, p.link.index, Protocol)
		if slices.Contains(kept, r) {
			continue // servers send duplicates
		}
		kept = append(kept, r)
		if slices.ContainsFunc(have, func(h route) bool { return h.sameWay(r) && !p.goes(h) }) {
			continue
		}
		w.OnLink = w.Gateway.IsValid() && (w.OnLink || !p.d.Addr.Contains(w.Gateway))
		p.step(AddRoute, Step{Route: w})
		p.routes = append(slices.Clone(p.routes), r)
	}
	for _, h := range have {
		if h.proto == Protocol && !slices.ContainsFunc(kept, h.sameWay) {
			p.step(DeleteRoute, Step{Route: h.public()})
			p.routes = slices.DeleteFunc(slices.Clone(p.routes), func(r route) bool { return r == h })
		}
	}
}

// goes reports whether a route is the kernel's own of a prefix whose address is to
// be removed: it goes with that.
func (p *planner) goes(r route) bool {
	if r.proto != unix.RTPROT_KERNEL {
		return false
	}
	goes := false
	for _, a := range p.addrs {
		if a.prefix.Masked() == r.dst {
			if !p.leftover(a) {
				return false
			}
			goes = true
		}
	}
	return goes
}

// leftover reports whether an address is of an earlier lease.
func (p *planner) leftover(a address) bool { return a.owned() && a.prefix != p.d.Addr }

func (p *planner) planRemovals() {
	left := p.addrs
	for _, a := range p.addrs {
		if !p.leftover(a) {
			continue
		}
		p.step(DeleteAddress, Step{Prefix: a.prefix})
		left = slices.DeleteFunc(slices.Clone(left), func(h address) bool { return h == a })
	}
	p.routes = slices.DeleteFunc(slices.Clone(p.routes), p.goes)
	if len(left) == 0 {
		p.routes = nil // the kernel flushes them with the last address (fib_inetaddr_event)
	}
	p.addrs = left
}
