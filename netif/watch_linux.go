package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	watchBuffer   = 1 << 20 // bytes of kernel memory for events not yet read
	watchBacklog  = 64      // events not yet taken by the consumer
	watchRetryMin = 100 * time.Millisecond
	watchRetryMax = 5 * time.Second
)

// Watch reports changes of all links, and of the IPv4 addresses and routes of
// ours, until ctx ends; then it closes the channel. The first event is a Resync.
// Later ones mean that events were lost, because the consumer or this machine
// was too slow (ENOBUFS) or the subscription had to be renewed. Link messages
// that change nothing this package looks at are left out. Changes that this
// process makes are reported, too.
func (m *Manager) Watch(ctx context.Context) (<-chan Event, error) {
	sock, err := subscribe()
	if err != nil {
		return nil, err
	}
	w := &watcher{Manager: m, events: make(chan Event, watchBacklog)}
	go func() {
		defer close(w.events)
		w.run(ctx, sock)
	}()
	return w.events, nil
}

// subscribe opens a socket that the kernel sends its news to.
func subscribe() (*nl.NetlinkSocket, error) {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	if err := sock.SetReceiveBufferSize(watchBuffer, true); err != nil {
		_ = sock.SetReceiveBufferSize(watchBuffer, false) // up to net.core.rmem_max
	}
	return sock, nil
}

// watcher turns the kernel's messages into events.
type watcher struct {
	*Manager
	events chan Event
	links  map[int]link // last known, by index
}

func (w *watcher) run(ctx context.Context, sock *nl.NetlinkSocket) {
	wait := watchRetryMin
	for {
		began := time.Now()
		err := w.follow(ctx, sock)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, unix.ENOBUFS) {
			// Reading on would not do: from the overflow until its queue is
			// empty the socket is "congested" and loses messages without
			// another error (net/netlink/af_netlink.c). A new one does not.
			w.log.Debug("kernel events were lost, looking at everything anew")
			if sock, err = subscribe(); err == nil {
				continue
			}
		}
		if time.Since(began) > watchRetryMax {
			wait = watchRetryMin
		}
		w.log.Debug("watching the kernel failed, subscribing anew", "in", wait, "error", err)
		for sock = nil; sock == nil; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, watchRetryMax)
			if sock, err = subscribe(); err != nil {
				w.log.Warn("subscribing to the kernel failed", "again in", wait, "error", err)
			}
		}
	}
}

// follow reads sock until it fails or ctx ends, and closes it.
func (w *watcher) follow(ctx context.Context, sock *nl.NetlinkSocket) error {
	stop := context.AfterFunc(ctx, sock.Close)
	defer func() {
		if stop() {
			sock.Close()
		}
	}()
	if err := w.resync(ctx); err != nil {
		return err
	}
	for {
		msgs, from, err := sock.Receive()
		switch {
		case errors.Is(err, os.ErrClosed):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("receive from rtnetlink: %w", err)
		case from.Pid != nl.PidKernel: // another process, not the kernel
			continue
		}
		for i := range msgs {
			if !w.message(ctx, &msgs[i]) {
				return ctx.Err()
			}
		}
	}
}

// resync lists the links anew and says so.
func (w *watcher) resync(ctx context.Context) error {
	links, err := w.nl.listLinks("")
	if err != nil {
		return err
	}
	w.links = make(map[int]link, len(links))
	for _, l := range links {
		w.links[l.index] = l
	}
	w.emit(ctx, Event{Kind: Resync})
	return nil
}

// emit hands an event over; false means that ctx has ended. While the consumer
// does not take it, the kernel's buffer fills; when that overflows a Resync
// follows.
func (w *watcher) emit(ctx context.Context, e Event) bool {
	select {
	case w.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// message handles one message of the kernel; false ends the watch.
func (w *watcher) message(ctx context.Context, msg *syscall.NetlinkMessage) bool {
	switch msg.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.linkMessage(ctx, msg)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		index, a, ok := parseAddr(msg.Data)
		l := w.links[index]
		if !ok || !l.marked() {
			return true
		}
		e := w.event(AddrAdded, &l)
		if msg.Header.Type == unix.RTM_DELADDR {
			e.Kind = AddrGone
		}
		e.Addr = a.prefix
		return w.emit(ctx, e)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok := parseRoute(msg.Data)
		l := w.links[r.oif]
		if !ok || !l.marked() && r.proto != Protocol && r.proto != BackupProtocol {
			return true
		}
		e := w.event(RouteAdded, &l)
		if msg.Header.Type == unix.RTM_DELROUTE {
			e.Kind = RouteGone
		}
		e.Route = r.public()
		return w.emit(ctx, e)
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC:
		// No link message reports a change of the discipline.
		if len(msg.Data) < nl.SizeofTcMsg {
			return true
		}
		tc := nl.DeserializeTcMsg(msg.Data)
		l := w.links[int(tc.Ifindex)]
		if tc.Parent != netlink.HANDLE_ROOT || !l.marked() {
			return true
		}
		return w.emit(ctx, w.event(QdiscChanged, &l))
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		if r, ok := parseRule(msg.Data); !ok || !r.ours() {
			return true
		}
		e := Event{Kind: RouteAdded}
		if msg.Header.Type == unix.RTM_DELRULE {
			e.Kind = RouteGone
		}
		return w.emit(ctx, e)
	}
	return true
}

func (w *watcher) linkMessage(ctx context.Context, msg *syscall.NetlinkMessage) bool {
	// Bridges send news of their ports with their own family: a port that
	// leaves is an RTM_DELLINK, yet the device lives on.
	if len(msg.Data) < unix.SizeofIfInfomsg || msg.Data[0] != unix.AF_UNSPEC {
		return true
	}
	l, err := parseLink(msg.Data)
	if err != nil {
		return true
	}
	was, known := w.links[l.index]
	if msg.Header.Type == unix.RTM_DELLINK {
		delete(w.links, l.index)
		// A late message about a link, read after the list that lacks it.
		return !known || w.emit(ctx, w.event(LinkGone, &l))
	}
	if known && was == l {
		return true
	}
	w.links[l.index] = l
	return w.emit(ctx, w.event(LinkChanged, &l))
}

func (w *watcher) event(kind EventKind, l *link) Event {
	e := Event{Kind: kind, Name: l.name, Owned: l.marked(), Up: l.up(), Carrier: l.carrier()}
	if l.altNames != "" {
		e.AltNames = strings.Split(strings.TrimSuffix(l.altNames, "\x00"), "\x00")
	}
	if l.mac != "" {
		e.MAC = net.HardwareAddr(l.mac).String()
	}
	if l.kind == macvlanKind {
		p := w.links[l.parent]
		e.Parent, e.ParentUp, e.ParentCarrier = p.name, p.up(), p.carrier()
	}
	return e
}
