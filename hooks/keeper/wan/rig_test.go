package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

var testWAN = config.WAN{
	Name: "wan", Parent: "eth2", MAC: []byte{2, 0, 0, 0, 0, 1}, DefaultRoute: true, ARPInterval: time.Minute,
}

// leased is a lease of an hour that begins at a time.
func leased(prefix string, at time.Duration) *dhcp.Lease {
	p := netip.MustParsePrefix(prefix)
	gateway := p.Masked().Addr().Next()
	return &dhcp.Lease{
		Prefix: p, Server: gateway, Gateway: gateway, Acquired: at, TTL: time.Hour, T1: 30 * time.Minute, T2: 50 * time.Minute,
		Routes: []dhcp.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway}},
	}
}

// rig takes a machine through events and notes what it does, in short words.
type rig struct {
	t      *testing.T
	m      *Machine
	now    time.Duration
	leases map[*dhcp.Lease]string
	logged []string
	last   Action // the call under way
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, m: New(testWAN), now: time.Hour, leases: map[*dhcp.Lease]string{}}
}

// lease makes a lease by the name of its last octet.
func (r *rig) lease(n int) *dhcp.Lease {
	l := leased(fmt.Sprintf("192.0.2.%d/24", n), r.now)
	r.leases[l] = fmt.Sprint(n)
	return l
}

// do takes the machine through an event and wants these actions, "; " between.
func (r *rig) do(event Event, want string) {
	r.t.Helper()
	if got := r.step(event); got != want {
		r.t.Errorf("after %s: %s\nwant: %s", describe(event), got, want)
	}
}

func (r *rig) step(event Event) string {
	var got []string
	r.last = nil
	for _, a := range r.m.Step(r.now, event) {
		if l, ok := a.(Log); ok {
			r.logged = append(r.logged, strings.TrimSpace(fmt.Sprint(append([]any{l.Level.String() + " " + l.Text}, l.Args...)...)))
			continue
		}
		got = append(got, r.name(a))
		if r.last != nil {
			r.t.Fatalf("%s after the call %T", r.name(a), r.last)
		}
		if IsCall(a) {
			r.last = a
		}
	}
	return strings.Join(got, "; ")
}

// after lets time pass.
func (r *rig) after(d time.Duration) *rig { r.now += d; return r }

func (r *rig) name(a Action) string {
	of := func(l *dhcp.Lease) string {
		if l == nil {
			return "nothing"
		}
		return fmt.Sprint(l.Prefix.Addr().As4()[3])
	}
	switch a := a.(type) {
	case Apply:
		if !a.Desired.Addr.IsValid() {
			return "apply"
		}
		return fmt.Sprintf("apply %d", a.Desired.Addr.Addr().As4()[3])
	case Observe:
		if a.Full {
			return "observe"
		}
		return "glance"
	case Release:
		return "release " + of(a.Lease)
	case Announce:
		if a.Frames {
			return "announce " + of(a.Lease)
		}
		return "probe " + of(a.Lease)
	case Publish:
		return "publish " + of(a.Lease)
	case SetCarrier:
		return fmt.Sprintf("carrier %v", a.Up)
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "wan."))
}

func describe(e Event) string {
	if d, ok := e.(Done); ok {
		return fmt.Sprintf("done (%v)", d.Err)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "wan.")
}

// Events in short.
var (
	errTest = errors.New("the kernel refuses")
	done    = Done{}
	failed  = Done{Err: errTest}
	created = Done{Changes: netif.Changes{Created: true, Steps: []string{"add link"}}}
	added   = Done{Changes: netif.Changes{Addr: true, Steps: []string{"add address"}}}
	unmuted = Done{Changes: netif.Changes{Unmuted: true, Steps: []string{"unmute link"}}}
)

func primary(epoch int) Ordered { return Ordered{Order{Epoch: epoch, Role: intent.Primary}} }

func openPrimary(epoch int) Ordered {
	return Ordered{Order{Epoch: epoch, Role: intent.Primary, Open: true}}
}

func backup(epoch int) Ordered {
	return Ordered{Order{Epoch: epoch, Role: intent.Backup, Linger: 2 * time.Second}}
}

func bound(l *dhcp.Lease) LeaseChanged {
	return LeaseChanged{dhcp.Update{State: dhcp.Bound, Lease: l}}
}

// seen is what the kernel holds of a link of ours.
func seen(addrs ...*dhcp.Lease) netif.Observed {
	o := netif.Observed{
		Exists: true, Owned: true, Matches: true, Up: true, Carrier: true,
		ParentExists: true, ParentUp: true, ParentCarrier: true,
	}
	for _, l := range addrs {
		o.Addresses = append(o.Addresses, netif.Address{Prefix: l.Prefix, Owned: true})
	}
	return o
}

func seenMuted(addrs ...*dhcp.Lease) netif.Observed {
	o := seen(addrs...)
	o.Muted = true
	return o
}

var seenNothing = netif.Observed{ParentExists: true, ParentUp: true, ParentCarrier: true}

// backupFirst is a router after its start.
func (r *rig) backupFirst() {
	r.t.Helper()
	r.do(Found{Observed: seenNothing}, "")
	r.do(backup(1), "canceldhcp; mute")
	r.do(done, "stopsending; publish nothing; purge")
	r.do(done, "")
}

// primaryWith is one with a lease in the kernel.
func (r *rig) primaryWith(n int) *dhcp.Lease {
	r.t.Helper()
	r.backupFirst()
	return r.promoted(2, n)
}

func (r *rig) promoted(epoch, n int) *dhcp.Lease {
	r.t.Helper()
	l := r.lease(n)
	r.do(openPrimary(epoch), "apply")
	r.do(created, "startdhcp")
	r.do(done, "")
	r.do(bound(l), fmt.Sprintf("apply %d", n))
	r.do(added, fmt.Sprintf("announce %d; publish %d", n, n))
	if s := r.m.State(); !s.Settled || !s.Held {
		r.t.Fatalf("not primary: %+v", s)
	}
	return l
}

// mutedWith is one that was primary a moment ago.
func (r *rig) mutedWith(n int) *dhcp.Lease {
	r.t.Helper()
	l := r.primaryWith(n)
	r.do(backup(3), "canceldhcp; mute")
	r.do(done, "stopsending; publish nothing")
	return l
}
