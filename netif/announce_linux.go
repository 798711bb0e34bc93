package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// announceAt are the times of the announcements after the first call. The first
// moves the traffic, the others are for a switch or gateway that was busy or
// still learning; keepalived repeats for the same reason.
var announceAt = [...]time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}

// Announce broadcasts that mac has addr, as gratuitous ARP request and reply at
// 0, 50 and 200 ms and 1 s. It returns when that is done, or at once when ctx
// ends, and sends nothing afterwards. The socket exists only while it runs.
func (m *Manager) Announce(ctx context.Context, name string, addr netip.Addr, mac net.HardwareAddr) error {
	if err := arpAble(addr, mac); err != nil {
		return fmt.Errorf("announce on %s: %w", name, err)
	}
	// Protocol 0 receives nothing: the traffic of the WAN does not pass here.
	conn, err := m.listen(name, 0, nil)
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, name, err)
	}
	defer conn.Close()
	frames := gratuitous(addr, mac)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, at := range announceAt {
		timer.Reset(time.Until(start.Add(at)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		for _, f := range frames {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := conn.WriteTo(f, broadcastAddr); err != nil {
				return refused(fmt.Sprintf("announce %s on %s", addr, name), err)
			}
		}
	}
	return nil
}

const (
	probeLimit = 2 * time.Second        // without a deadline in ctx
	probeAgain = 250 * time.Millisecond // between requests without an answer
)

// ProbeGateway asks for gateway by ARP and returns the time to its answer. It
// repeats the request until ctx ends, or for 2 s if ctx has no deadline. Some
// gateways ignore gratuitous ARP; the sender address of a request they learn.
// The error is context.DeadlineExceeded when no answer came.
func (m *Manager) ProbeGateway(ctx context.Context, name string, src, gateway netip.Addr) (time.Duration, error) {
	what := fmt.Sprintf("probe gateway %s on %s", gateway, name)
	l, err := m.nl.getLink(name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	mac := net.HardwareAddr(l.mac)
	if err := errors.Join(arpAble(src, mac), arpAble(gateway, mac)); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	filter, err := replyFilter(gateway, src)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	conn, err := m.listen(name, unix.ETH_P_ARP, filter)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(ctx, remaining(ctx))
	defer cancel()
	// The end of ctx ends a read in progress.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	request := ARPRequest(mac, src, gateway)
	buf := make([]byte, 128)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(probeAgain)); err != nil {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
		if err := ctx.Err(); err != nil { // it may have ended before the deadline was set
			return 0, fmt.Errorf("%s: %w", what, err)
		}
		sent := time.Now()
		if _, err := conn.WriteTo(request, broadcastAddr); err != nil {
			return 0, refused(what, err)
		}
		_, _, err := conn.ReadFrom(buf) // the filter leaves only the answer
		var timeout net.Error
		switch {
		case err == nil:
			return time.Since(sent), nil
		case errors.As(err, &timeout) && timeout.Timeout():
		default:
			return 0, refused(what, err)
		}
	}
}

func remaining(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return time.Until(end)
	}
	return probeLimit
}

var broadcastAddr = &packet.Addr{HardwareAddr: broadcastMAC}

// listen opens a packet socket on a link.
func (m *Manager) listen(name string, protocol int, filter []bpf.RawInstruction) (*packet.Conn, error) {
	l, err := m.nl.getLink(name)
	if err != nil {
		return nil, err
	}
	ifi := &net.Interface{Index: l.index, Name: l.name, MTU: l.mtu, HardwareAddr: net.HardwareAddr(l.mac)}
	conn, err := packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: filter})
	if err != nil {
		return nil, refused("open packet socket", err)
	}
	return conn, nil
}

// replyFilter passes ARP replies from sender to target only.
func replyFilter(sender, target netip.Addr) ([]bpf.RawInstruction, error) {
	s, t := sender.As4(), target.As4()
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: arpOpcode, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arpReply, SkipTrue: 5},
		bpf.LoadAbsolute{Off: arpSenderIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(s[:]), SkipTrue: 3},
		bpf.LoadAbsolute{Off: arpTargetIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(t[:]), SkipTrue: 1},
		bpf.RetConstant{Val: 128},
		bpf.RetConstant{Val: 0},
	})
}

func arpAble(addr netip.Addr, mac net.HardwareAddr) error {
	switch {
	case !addr.Is4():
		return fmt.Errorf("address %v is not IPv4", addr)
	case len(mac) != 6:
		return fmt.Errorf("MAC %q is not an Ethernet address", mac)
	}
	return nil
}
