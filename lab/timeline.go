package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind of an event.
type Kind string

// Kinds. What Subject and Detail are depends on it.
const (
	KindAct     Kind = "act"     // somebody did something: the reason for all else
	KindBoot    Kind = "boot"    // a router is up
	KindVRRP    Kind = "vrrp"    // Subject master: first advert of a new one; stop: priority 0
	KindVIP     Kind = "vip"     // Subject up or down; Detail: the virtual address
	KindHook    Kind = "hook"    // Subject: the role that the hook was called with
	KindLink    Kind = "link"    // the WAN's interface; Subject up, down, mute or gone
	KindAddr    Kind = "addr"    // the WAN's address; Subject: the address, or gone
	KindRoute   Kind = "route"   // the default route; Subject: the gateway, or gone
	KindDHCP    Kind = "dhcp"    // Subject: the message type
	KindARP     Kind = "arp"     // gratuitous ARP on the WAN; Subject: the address
	KindService Kind = "service" // Subject: its name; Detail: started or stopped
)

// ActPowerCut is the subject of the act that switches a router off.
const ActPowerCut = "power cut"

// Event is something that happened on a machine.
type Event struct {
	At      time.Time
	Node    string
	Kind    Kind
	Subject string
	Detail  string
}

// String is the event in words.
func (e Event) String() string {
	switch e.Kind {
	case KindVRRP:
		if e.Subject == "stop" {
			return "VRRP: gives up (priority 0)"
		}
		return "VRRP: first advert as master"
	case KindVIP:
		return "virtual address " + e.Detail + " " + e.Subject
	case KindHook:
		return "hook " + e.Subject
	case KindLink:
		return "macvlan wan " + e.Subject
	case KindAddr:
		if e.Subject == "gone" {
			return "WAN address gone"
		}
		return "WAN address " + e.Subject
	case KindRoute:
		if e.Subject == "gone" {
			return "default route gone"
		}
		return "default route via " + e.Subject
	case KindDHCP:
		return strings.TrimSpace("DHCP " + e.Subject + " " + e.Detail)
	case KindARP:
		return "gratuitous ARP for " + e.Subject
	case KindService:
		return e.Subject + " " + e.Detail
	}
	return strings.TrimSpace(e.Subject + " " + e.Detail)
}

// Timeline collects what happens in the lab, in the kernel's and the wire's own
// words: nothing of it is asked of the program under test.
type Timeline struct {
	l        *Lab
	captures []*Capture

	mu     sync.Mutex
	events []Event
	watch  []func(Event)
	more   chan struct{}
	err    error
	master map[string]bool // routers whose last advert was a master's
	state  map[string]string
}

// Timeline begins to collect.
func (l *Lab) Timeline() (_ *Timeline, err error) {
	t := &Timeline{l: l, more: make(chan struct{}), master: map[string]bool{}, state: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	ports := map[Port]func(Frame){portOf(switchISP, "isp"): t.ispFrame}
	for _, r := range l.routers {
		ports[r.LAN()] = func(f Frame) { t.lanFrame(r, f) }
		ports[r.WAN()] = func(f Frame) { t.wanFrame(r, f) }
	}
	for port, see := range ports {
		if err := t.listen(port, see); err != nil {
			return nil, err
		}
	}
	for _, r := range l.routers {
		r.onBoot = func() error { return t.attach(r, true) }
		if r.On() {
			if err := t.attach(r, false); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (t *Timeline) listen(port Port, see func(Frame)) error {
	c, err := t.l.Capture(port, FilterControl())
	if err != nil {
		return err
	}
	c.OnFrame(see)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.captures = append(t.captures, c)
	return nil
}

// attach watches a router that has booted. Its ports are new then.
func (t *Timeline) attach(r *Router, booted bool) error {
	m, err := r.machine()
	if err != nil {
		return err
	}
	if booted {
		t.forget(r)
		t.add(Event{At: time.Now(), Node: r.Name, Kind: KindBoot, Subject: "has booted"})
		if err := errors.Join(
			t.listen(r.LAN(), func(f Frame) { t.lanFrame(r, f) }),
			t.listen(r.WAN(), func(f Frame) { t.wanFrame(r, f) }),
		); err != nil {
			return err
		}
	}
	return errors.Join(t.watchNetlink(r, m), t.watchHooks(r, m), t.watchServices(r, m))
}

// Act notes that somebody did something, now.
func (t *Timeline) Act(node, what string) time.Time {
	now := time.Now()
	t.add(Event{At: now, Node: node, Kind: KindAct, Subject: what})
	return now
}

func (t *Timeline) add(e Event) {
	// A router without power says nothing, whatever its kernel does as it goes.
	for _, r := range t.l.routers {
		if r.Name == e.Node && e.Kind != KindAct && !r.On() {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Sources are apart by moments; the list is in the order of the events.
	i := len(t.events)
	for i > 0 && t.events[i-1].At.After(e.At) {
		i--
	}
	t.events = slices.Insert(t.events, i, e)
	for _, w := range t.watch {
		w(e)
	}
	close(t.more)
	t.more = make(chan struct{})
}

// changed tells whether a state of a router differs from the one before: the
// kernel reports some things twice.
func (t *Timeline) changed(r *Router, what, now string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := r.Name + " " + what
	if t.state[key] == now {
		return false
	}
	t.state[key] = now
	return true
}

// forget is for a router whose state went with its power.
func (t *Timeline) forget(r *Router) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.state, func(key, _ string) bool { return strings.HasPrefix(key, r.Name+" ") })
	t.master[r.Name] = false
}

func (t *Timeline) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, err)
}

// OnEvent has f called for each further event. f must be quick.
func (t *Timeline) OnEvent(f func(Event)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = append(t.watch, f)
}

// Events so far, of the time since after.
func (t *Timeline) Events(after time.Time) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Event
	for _, e := range t.events {
		if !e.At.Before(after) {
			out = append(out, e)
		}
	}
	return out
}

// First finds the first event since after that matches.
func (t *Timeline) First(after time.Time, match func(Event) bool) (Event, bool) {
	events := t.Events(after)
	if i := slices.IndexFunc(events, match); i >= 0 {
		return events[i], true
	}
	return Event{}, false
}

// Wait returns the first event since after that matches, once there is one.
func (t *Timeline) Wait(ctx context.Context, after time.Time, match func(Event) bool) (Event, error) {
	for {
		t.mu.Lock()
		more := t.more
		t.mu.Unlock()
		if e, ok := t.First(after, match); ok {
			return e, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for an event: %w", context.Cause(ctx))
		}
	}
}

// Is matches an event; an empty subject matches any.
func Is(node string, kind Kind, subject string) func(Event) bool {
	return func(e Event) bool {
		return e.Node == node && e.Kind == kind && (subject == "" || e.Subject == subject)
	}
}

// Close ends the collecting; the events stay.
func (t *Timeline) Close() error {
	for _, r := range t.l.routers {
		r.onBoot = nil
	}
	t.mu.Lock()
	captures := t.captures
	t.captures = nil
	t.mu.Unlock()
	var errs error
	for _, c := range captures {
		errs = errors.Join(errs, c.Close())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.err, errs)
}

// lanFrame finds the changes of master in the adverts that a router sends.
func (t *Timeline) lanFrame(r *Router, f Frame) {
	a, ok := f.Advert()
	if !ok || !f.FromMachine || a.From != r.Address() {
		return
	}
	t.mu.Lock()
	was := t.master[r.Name]
	t.master[r.Name] = a.Priority > 0
	if a.Priority > 0 {
		for _, other := range t.l.routers {
			if other != r {
				t.master[other.Name] = false
			}
		}
	}
	t.mu.Unlock()
	switch {
	case a.Priority == 0 && was:
		t.add(Event{At: f.At, Node: r.Name, Kind: KindVRRP, Subject: "stop"})
	case a.Priority > 0 && !was:
		t.add(Event{At: f.At, Node: r.Name, Kind: KindVRRP, Subject: "master"})
	}
}

// wanFrame notes what a router sends on the WAN.
func (t *Timeline) wanFrame(r *Router, f Frame) {
	if !f.FromMachine {
		return
	}
	t.dhcp(r.Name, f)
	if a, ok := f.ARP(); ok && a.Gratuitous && a.Sender.IsValid() && !a.Sender.IsUnspecified() {
		t.add(Event{At: f.At, Node: r.Name, Kind: KindARP, Subject: a.Sender.String(), Detail: a.SenderMAC.String()})
	}
}

// ispFrame notes what the ISP answers.
func (t *Timeline) ispFrame(f Frame) {
	if f.FromMachine {
		t.dhcp("isp", f)
	}
}

func (t *Timeline) dhcp(node string, f Frame) {
	m, ok := f.DHCP()
	if !ok {
		return
	}
	detail := ""
	switch {
	case m.YourIPAddr != nil && !m.YourIPAddr.IsUnspecified():
		detail = m.YourIPAddr.String()
	case m.RequestedIPAddress() != nil:
		detail = m.RequestedIPAddress().String()
	case m.ClientIPAddr != nil && !m.ClientIPAddr.IsUnspecified():
		detail = m.ClientIPAddr.String()
	}
	t.add(Event{At: f.At, Node: node, Kind: KindDHCP, Subject: m.MessageType().String(), Detail: detail})
}
