package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Relay is a cable between a machine and its switch that holds back DHCP, as an
// ISP's relay agent with a server far behind it does, and nothing else: the
// gateway stays near. (No netem: a kernel may lack it.)
type Relay struct {
	ends  [2]*os.File
	delay atomic.Int64 // of each DHCP frame, in each direction
	cut   atomic.Bool
	wg    sync.WaitGroup
	undo  func() error
}

// vnetHeader precedes each frame: checksums that the hardware would have made
// are still missing in what a veth hands over, and the header says so.
const vnetHeader = 10

// NewRelay puts a relay between a port of a switch and the switch. It works in
// the network namespace of the calling thread.
func NewRelay(port, sw string) (_ *Relay, err error) {
	const near, far = "relay0", "relay1"
	link, err := netlink.LinkByName(port)
	if err != nil {
		return nil, fmt.Errorf("relay at %s: %w", port, err)
	}
	bridge, err := netlink.LinkByName(sw)
	if err != nil {
		return nil, fmt.Errorf("relay at %s: %w", port, err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near, MTU: link.Attrs().MTU}, PeerName: far}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("relay at %s: %w", port, err)
	}
	r := &Relay{undo: func() error {
		return errors.Join(netlink.LinkDel(pair), netlink.LinkSetMaster(link, bridge))
	}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("relay at %s: %w", port, err), r.Close())
		}
	}()
	out, err := netlink.LinkByName(far)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(netlink.LinkSetNoMaster(link), netlink.LinkSetMaster(out, bridge),
		netlink.LinkSetUp(pair), netlink.LinkSetUp(out)); err != nil {
		return nil, err
	}
	for i, index := range []int{link.Attrs().Index, pair.Attrs().Index} {
		if r.ends[i], err = openEnd(index); err != nil {
			return nil, err
		}
	}
	r.wg.Go(func() { r.pass(r.ends[0], r.ends[1]) })
	r.wg.Go(func() { r.pass(r.ends[1], r.ends[0]) })
	return r, nil
}

func openEnd(ifindex int) (_ *os.File, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for name, value := range map[int]int{unix.PACKET_VNET_HDR: 1, unix.PACKET_IGNORE_OUTGOING: 1} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, name, value); err != nil {
			_ = unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "relay"), nil
}

// Set makes the round trip to the DHCP server that long; dead: there is none.
func (r *Relay) Set(roundTrip time.Duration, dead bool) {
	r.delay.Store(int64(roundTrip / 2))
	r.cut.Store(dead)
}

// pass copies frames until the relay is closed.
func (r *Relay) pass(from, to *os.File) {
	type held struct {
		due   time.Time
		frame []byte
	}
	late := make(chan held, 1024)
	defer close(late)
	r.wg.Go(func() {
		for h := range late {
			time.Sleep(time.Until(h.due))
			_, _ = to.Write(h.frame)
		}
	})
	buf := make([]byte, vnetHeader+65536)
	for {
		n, err := from.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil || n < vnetHeader:
			continue // ENETDOWN while a machine is off
		}
		if !isDHCP(buf[vnetHeader:n]) {
			_, _ = to.Write(buf[:n])
			continue
		}
		if r.cut.Load() {
			continue
		}
		late <- held{time.Now().Add(time.Duration(r.delay.Load())), append([]byte(nil), buf[:n]...)}
	}
}

// isDHCP looks at an Ethernet frame.
func isDHCP(f []byte) bool {
	if len(f) < 14+20+8 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || f[14+9] != unix.IPPROTO_UDP {
		return false
	}
	udp := 14 + int(f[14]&0xf)*4
	if len(f) < udp+8 {
		return false
	}
	port := binary.BigEndian.Uint16(f[udp+2:])
	return port == 67 || port == 68
}

// Close takes the relay out again.
func (r *Relay) Close() error {
	for _, f := range r.ends {
		if f != nil {
			_ = f.Close()
		}
	}
	r.wg.Wait()
	return r.undo()
}
