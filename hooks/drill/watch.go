package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/netif"
)

const (
	askMoving = 20 * time.Millisecond  // between two ARP requests while the role is to move
	askHeld   = 200 * time.Millisecond // ... while the peer is to hold it
	lostAfter = 500 * time.Millisecond // without an answer, the peer has the address no more
	retry     = 20 * time.Millisecond  // after an error of a socket
)

// watcher watches one virtual address: the kernel reports when it goes and comes
// here, and ARP meanwhile whether the peer has it.
type watcher struct {
	*Pair
	keepalived.VIP
	mac     net.HardwareAddr // of the device
	sock    *nl.NetlinkSocket
	conn    *packet.Conn
	changed chan time.Time // an address of this computer
	claimed chan time.Time // by the peer, the virtual address
	who     Holder
	last    time.Time // when somebody was last known to have it
}

// Watch begins to watch a virtual address, until ctx ends. Close waits for its
// end.
func (p *Pair) Watch(ctx context.Context, vip keepalived.VIP) error {
	what := fmt.Sprintf("watch %s on %s", vip.Address, vip.Device)
	ifi, err := net.InterfaceByName(vip.Device)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		return fmt.Errorf("%s: subscribe to rtnetlink: %w", what, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		sock.Close()
		return fmt.Errorf("%s: open packet socket: %w", what, err)
	}
	w := &watcher{
		Pair: p, VIP: vip, mac: ifi.HardwareAddr, sock: sock, conn: conn,
		changed: make(chan time.Time, 16), claimed: make(chan time.Time, 16), last: time.Now(),
	}
	p.tasks.Go(func() { w.follow(ctx) })
	p.tasks.Go(func() { w.receive(ctx) })
	p.tasks.Go(func() {
		w.run(ctx)
		sock.Close()
		_ = conn.Close()
	})
	return nil
}

// note passes the time on, unless so many are waiting that one more is no news.
func note(c chan<- time.Time) {
	select {
	case c <- time.Now():
	default:
	}
}

// pause waits before a socket that has failed is tried again.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retry):
	}
}

// follow notes the kernel's changes of addresses. What an overrun has lost shows
// in the addresses as they are.
func (w *watcher) follow(ctx context.Context) {
	for {
		_, _, err := w.sock.Receive()
		if ctx.Err() != nil {
			return
		}
		note(w.changed)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			pause(ctx)
		}
	}
}

// receive notes each ARP packet in which somebody else claims the virtual address,
// be it to answer or to announce it.
func (w *watcher) receive(ctx context.Context) {
	frame := make([]byte, 256)
	for {
		n, _, err := w.conn.ReadFrom(frame)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // the port is down, say
			pause(ctx)
			continue
		}
		if mac, ip, ok := netif.ARPSender(frame[:n]); ok && ip == w.Address && !bytes.Equal(mac, w.mac) {
			note(w.claimed)
		}
	}
}

func (w *watcher) run(ctx context.Context) {
	request := netif.ARPRequest(w.mac, w.Source, w.Address)
	ask := time.NewTimer(0)
	defer ask.Stop()
	for {
		var due <-chan time.Time // not while it is here
		if w.who != Here {
			due = ask.C
		}
		select {
		case <-ctx.Done():
			return
		case at := <-w.changed:
			switch here := keepalived.HostAddresses().Have(w.Address); {
			case here:
				w.becomes(ctx, Here, at)
			case w.who == Here:
				w.last = at
				w.becomes(ctx, Nobody, at)
				ask.Reset(0)
			}
		case at := <-w.claimed:
			if w.who != Here {
				w.becomes(ctx, Peer, at)
			}
		case <-due:
			if w.who == Peer && time.Since(w.last) > lostAfter {
				w.becomes(ctx, Nobody, time.Now())
			}
			_, _ = w.conn.WriteTo(request, &packet.Addr{HardwareAddr: request[:6]}) // again soon
			if w.who == Peer && w.lowered.Load() {
				ask.Reset(askHeld)
			} else {
				ask.Reset(askMoving)
			}
		}
	}
}

// becomes reports a new holder.
func (w *watcher) becomes(ctx context.Context, who Holder, at time.Time) {
	missing := max(0, at.Sub(w.last))
	if who != Nobody {
		w.last = at
	}
	if who == w.who {
		return
	}
	w.who = who
	select {
	case w.sights <- Sight{Address: w.Address, Who: who, At: at, Missing: missing}:
	case <-ctx.Done():
	}
}
