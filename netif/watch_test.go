package netif

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// next waits for the first event that fits, and returns what came before it, too.
func next(t *testing.T, events <-chan Event, what string, fits func(Event) bool) (Event, []Event) {
	t.Helper()
	var before []Event
	limit := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the channel was closed before %s; got %+v", what, before)
			}
			if fits(e) {
				return e, before
			}
			before = append(before, e)
		case <-limit:
			t.Fatalf("no event for %s; got %+v", what, before)
		}
	}
}

func TestWatch(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Kind != Resync {
		t.Errorf("first event %+v, want a resync", e)
	}
	d := lease("198.51.100.7/24")
	b.apply(d)
	on := func(kind EventKind, name string) func(Event) bool {
		return func(e Event) bool { return e.Kind == kind && e.Name == name }
	}
	up := func(e Event) bool { return on(LinkChanged, "wan")(e) && e.Up && e.Carrier }
	if e, _ := next(t, events, "wan up", up); !e.Owned || e.MAC != shared.String() || e.Parent != "port0" || !e.ParentUp || !e.ParentCarrier {
		t.Errorf("%+v", e)
	}
	if e, _ := next(t, events, "the address", on(AddrAdded, "wan")); e.Addr != d.Addr {
		t.Errorf("%+v", e)
	}
	isDefault := func(kind EventKind) func(Event) bool {
		return func(e Event) bool { return on(kind, "wan")(e) && e.Route == d.Routes[0] }
	}
	next(t, events, "the default route", isDefault(RouteAdded))

	// The cable is pulled at the other end.
	carrier := func(up bool) {
		b.isp.Do(t, func() error {
			l, err := netlink.LinkByName("isp0")
			if err != nil {
				return err
			}
			if up {
				return netlink.LinkSetUp(l)
			}
			return netlink.LinkSetDown(l)
		})
	}
	lost := func(name string) func(Event) bool {
		return func(e Event) bool { return on(LinkChanged, name)(e) && e.Up && !e.Carrier }
	}
	carrier(false)
	next(t, events, "carrier loss of the parent", lost("port0"))
	if e, _ := next(t, events, "carrier loss of the link", lost("wan")); e.ParentCarrier {
		t.Errorf("%+v", e)
	}
	carrier(true)
	if e, _ := next(t, events, "carrier", up); !e.ParentCarrier {
		t.Errorf("%+v", e)
	}

	ip(t, "route", "del", "default", "dev", "wan")
	next(t, events, "the route's end", isDefault(RouteGone))
	b.apply(d)
	ip(t, "addr", "flush", "dev", "wan")
	next(t, events, "the address's end", func(e Event) bool { return on(AddrGone, "wan")(e) && e.Addr == d.Addr })
	ip(t, "link", "set", "wan", "down")
	next(t, events, "link down", func(e Event) bool { return on(LinkChanged, "wan")(e) && !e.Up })
	ip(t, "link", "del", "wan")
	if e, _ := next(t, events, "the link's end", on(LinkGone, "wan")); !e.Owned {
		t.Errorf("%+v", e)
	}

	// What others do on links of their own is not our business, except for links.
	ip(t, "link", "add", "wan", "type", "bridge")
	if e, _ := next(t, events, "a foreign link with the name", on(LinkChanged, "wan")); e.Owned {
		t.Errorf("%+v", e)
	}
	ip(t, "addr", "add", "192.0.2.1/24", "dev", "wan")
	ip(t, "link", "del", "wan")
	_, before := next(t, events, "its end", on(LinkGone, "wan"))
	for _, e := range before {
		if e.Kind == AddrAdded || e.Kind == AddrGone {
			t.Errorf("reported %+v", e)
		}
	}

	// Nothing that matters changed: nothing is reported.
	b.apply(d)
	next(t, events, "the default route", isDefault(RouteAdded))
	b.apply(d)
	select {
	case e := <-events:
		t.Errorf("an Apply that changed nothing caused %+v", e)
	case <-time.After(settle):
	}

	cancel()
	next(t, closing(events), "the end", func(e Event) bool { return e.Kind == watchEnded })
}

// watchEnded stands for the closing of the channel.
const watchEnded EventKind = 255

func closing(events <-chan Event) <-chan Event {
	out := make(chan Event, 1000)
	for e := range events {
		out <- e
	}
	out <- Event{Kind: watchEnded}
	return out
}

// TestWatchSurvivesOverflow has nobody listen while more happens than the
// kernel's buffer holds. Afterwards the watch says so, and works.
func TestWatchSurvivesOverflow(t *testing.T) {
	b := newBench(t)
	b.apply(lease("198.51.100.7/24"))
	ctx, cancel := context.WithCancel(t.Context())
	events, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Kind != Resync {
		t.Fatalf("first event %+v", e)
	}
	port, err := netlink.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		if err := netlink.LinkSetAlias(port, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	// Lost with the rest, or not: who resyncs now must see it.
	next(t, events, "a resync after the overflow", func(e Event) bool { return e.Kind == Resync })
	ip(t, "addr", "flush", "dev", "wan")
	if e, _ := next(t, events, "an event after the resync", func(e Event) bool { return e.Kind == AddrGone }); e.Addr != prefix("198.51.100.7/24") {
		t.Errorf("%+v", e)
	}

	// It ends also while nobody takes its events.
	for i := range 2 * watchBacklog {
		if err := netlink.LinkSetAlias(port, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	closing(events)
}

// TestWatchSubscribesAnew closes the subscription under the watcher's feet.
func TestWatchSubscribesAnew(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	sock, err := subscribe()
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{Manager: b.Manager, events: make(chan Event, watchBacklog)}
	go func() {
		defer close(w.events)
		w.run(ctx, sock)
	}()
	resync := func(e Event) bool { return e.Kind == Resync }
	next(t, w.events, "the first resync", resync)
	sock.Close()
	next(t, w.events, "a resync after subscribing anew", resync)
	b.apply(lease("198.51.100.7/24"))
	next(t, w.events, "an event afterwards", func(e Event) bool { return e.Kind == AddrAdded })
	cancel()
	closing(w.events)
}
