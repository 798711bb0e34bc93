package command

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/drill"
	"github.com/wanfail/wanfail/netif"
)

const (
	askAgain = 20 * time.Millisecond  // for the address while the role is to move
	askHeld  = 200 * time.Millisecond // while the peer is to hold it
	silence  = 500 * time.Millisecond // without a word of the peer, and it has the address no more
)

// vigil watches one virtual address: the kernel says when it goes and comes here,
// and ARP meanwhile whether the peer has it.
type vigil struct {
	*pair
	doctor.VIP
	conn  *packet.Conn
	ask   []byte         // a frame
	moved chan time.Time // an address of this computer
	heard chan time.Time // the peer, with the virtual address
	who   drill.Holder
	last  time.Time // when somebody was last known to have it
}

// watch begins a vigil, until ctx ends.
func (p *pair) watch(ctx context.Context, vip doctor.VIP) error {
	what := fmt.Sprintf("watch %s on %s", vip.Address, vip.Device)
	ifi, err := net.InterfaceByName(vip.Device)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		return fmt.Errorf("%s: subscribe to rtnetlink: %w", what, err)
	}
	context.AfterFunc(ctx, sock.Close)
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		return fmt.Errorf("%s: open packet socket: %w", what, err)
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	v := &vigil{
		pair: p, VIP: vip, conn: conn, ask: netif.ARPRequest(ifi.HardwareAddr, vip.Source, vip.Address),
		moved: make(chan time.Time, 16), heard: make(chan time.Time, 16), last: time.Now(),
	}
	go func() {
		for {
			if _, _, err := sock.Receive(); err != nil && ctx.Err() != nil {
				return
			} else if err != nil {
				time.Sleep(askAgain) // what was lost shows in the look that follows
			}
			note(v.moved)
		}
	}()
	go v.listen(ctx, ifi.HardwareAddr)
	go v.keep(ctx)
	return nil
}

// note tells the time, unless so many are waiting that one more says nothing new.
func note(c chan<- time.Time) {
	select {
	case c <- time.Now():
	default:
	}
}

// listen hears everybody else who says that the virtual address is his, be it to
// answer or to announce it.
func (v *vigil) listen(ctx context.Context, own net.HardwareAddr) {
	frame := make([]byte, 256)
	for {
		n, _, err := v.conn.ReadFrom(frame)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			time.Sleep(askAgain) // the port is down, say
			continue
		}
		if mac, ip, ok := netif.ARPSender(frame[:n]); ok && ip == v.Address && !bytes.Equal(mac, own) {
			note(v.heard)
		}
	}
}

func (v *vigil) keep(ctx context.Context) {
	asks := time.NewTimer(0)
	defer asks.Stop()
	for {
		var due <-chan time.Time // not while it is here
		if v.who != drill.Here {
			due = asks.C
		}
		select {
		case <-ctx.Done():
			return
		case at := <-v.moved:
			switch here := holds(doctor.HostAddresses(), v.Address.String()); {
			case here:
				v.becomes(ctx, drill.Here, at)
			case v.who == drill.Here:
				v.last = at
				v.becomes(ctx, drill.Nobody, at)
				asks.Reset(0)
			}
		case at := <-v.heard:
			if v.who != drill.Here {
				v.becomes(ctx, drill.Peer, at)
			}
		case <-due:
			if v.who == drill.Peer && time.Since(v.last) > silence {
				v.becomes(ctx, drill.Nobody, time.Now())
			}
			_, _ = v.conn.WriteTo(v.ask, &packet.Addr{HardwareAddr: v.ask[:6]}) // again soon
			if v.who == drill.Peer && v.lowered.Load() {
				asks.Reset(askHeld)
			} else {
				asks.Reset(askAgain)
			}
		}
	}
}

// becomes tells of a new holder.
func (v *vigil) becomes(ctx context.Context, who drill.Holder, at time.Time) {
	missing := max(0, at.Sub(v.last))
	if who != drill.Nobody {
		v.last = at
	}
	if who == v.who {
		return
	}
	v.who = who
	select {
	case v.sights <- drill.Sight{Address: v.Address, Who: who, At: at, Missing: missing}:
	case <-ctx.Done():
	}
}
