package netif

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ifaProto is IFA_PROTO: who put an address there (Linux 5.18). Older kernels
// ignore it in requests and never report it.
const ifaProto = 11

// ifaForever is the kernel's infinite lifetime, in seconds (INFINITY_LIFE_TIME).
const ifaForever = math.MaxUint32

// lifetimeSlack is by how many seconds the lifetime in the kernel may differ
// from the desired one before it is written again: both count down, on different
// clocks. Of a short lease it would be too much, see sameLifetime.
const lifetimeSlack = 3

// address is an IPv4 address on a link as the kernel reports it.
type address struct {
	prefix netip.Prefix
	valid  uint32 // seconds left
	proto  uint8
}

// almostForever stands for an infinite lifetime on a kernel that keeps no origin: 20
// days, which also fit the clock of a 32-bit kernel.
const almostForever = 20 * 24 * 60 * 60

// keepsOrigin reports whether a kernel of that release keeps who put an address there.
// One whose release cannot be read is taken for a new one.
func keepsOrigin(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		return true
	}
	return major > 5 || major == 5 && minor >= 18
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// owned reports whether wanfail put the address there. On a kernel that keeps
// no origin, a finite lifetime says so: addresses set by hand have none.
func (a *address) owned() bool {
	return a.proto == Protocol || a.proto == 0 && a.valid != ifaForever
}

// listAddrs lists the IPv4 addresses of a link.
func (c *conn) listAddrs(index int) ([]address, error) {
	msgs, err := c.dump(unix.RTM_GETADDR, &nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: unix.AF_INET, Index: uint32(index)}})
	if err != nil {
		// With an index the kernel answers ENODEV for a link that is gone.
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var addrs []address
	for _, msg := range msgs {
		if on, a, ok := parseAddr(msg); ok && on == index {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// parseAddr reads the payload of an RTM_NEWADDR or RTM_DELADDR.
func parseAddr(msg []byte) (index int, a address, ok bool) {
	if len(msg) < unix.SizeofIfAddrmsg || msg[0] != unix.AF_INET {
		return 0, address{}, false
	}
	bits := int(msg[1])
	index = int(binary.NativeEndian.Uint32(msg[4:]))
	a.valid = ifaForever
	for typ, val := range attributes(msg[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			if ip, ok := netip.AddrFromSlice(val); ok {
				a.prefix = netip.PrefixFrom(ip, bits)
			}
		case unix.IFA_CACHEINFO: // preferred and valid lifetime, two time stamps
			if len(val) >= 8 {
				a.valid = u32(val[4:])
			}
		case ifaProto:
			if len(val) >= 1 {
				a.proto = val[0]
			}
		}
	}
	return index, a, a.prefix.IsValid()
}

// seconds turns a lifetime into the kernel's. It rounds up: a keeper that lives
// takes the address away at the very end of the lease, and the kernel, which is
// there for one that does not, must not be first. Rounded down, a lease of whole
// seconds would lose the last one, since it is a little shorter by the time that
// it gets here, and one of 2 s would end before its renewal.
func seconds(valid time.Duration) uint32 {
	if valid <= 0 || valid > (ifaForever-1)*time.Second {
		return ifaForever
	}
	return uint32((valid-1)/time.Second + 1)
}

// sameLifetime reports whether have is close enough to want to be left alone.
// A lease that was renewed is not: at T1 half of it has passed, so an eighth of
// what is wanted is always less than what a renewal adds.
func sameLifetime(have, want uint32) bool {
	if have == ifaForever || want == ifaForever {
		return have == want
	}
	if want == almostForever { // not the rest of a lease
		return have > almostForever/2
	}
	slack := min(want/8, lifetimeSlack)
	if have > want {
		return have-want <= max(slack, 1) // the kernel counts whole seconds
	}
	return want-have <= slack
}

// setAddr adds an address, or gives an existing one of the same prefix a new
// lifetime.
func (m *Manager) setAddr(ctx context.Context, step string, l *link, prefix netip.Prefix, broadcast netip.Addr, valid uint32) error {
	local := prefix.Addr().AsSlice()
	life := binary.NativeEndian.AppendUint32(nil, valid) // preferred
	life = binary.NativeEndian.AppendUint32(life, valid)
	life = append(life, make([]byte, 8)...) // time stamps, not for us to set
	parts := []nl.NetlinkRequestData{
		&nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: uint8(prefix.Bits()), Index: uint32(l.index)}},
		nl.NewRtAttr(unix.IFA_LOCAL, local),
		nl.NewRtAttr(unix.IFA_ADDRESS, local),
		nl.NewRtAttr(unix.IFA_CACHEINFO, life),
	}
	if !m.noAddrProto {
		parts = append(parts, nl.NewRtAttr(ifaProto, nl.Uint8Attr(Protocol)))
	}
	if prefix.Bits() < 31 { // RFC 3021: no broadcast on a point-to-point link
		if !broadcast.IsValid() {
			broadcast = lastAddr(prefix)
		}
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, broadcast.AsSlice()))
	}
	return m.write(ctx, step, fmt.Sprintf("%s on %s", prefix, l.name), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, parts...)
}

func (m *Manager) deleteAddr(ctx context.Context, l *link, prefix netip.Prefix) error {
	err := m.write(ctx, "delete address", fmt.Sprintf("%s on %s", prefix, l.name), unix.RTM_DELADDR, 0,
		&nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: uint8(prefix.Bits()), Index: uint32(l.index)}},
		nl.NewRtAttr(unix.IFA_LOCAL, prefix.Addr().AsSlice()))
	if gone(err) { // it expired, or somebody was faster
		return nil
	}
	return err
}

// lastAddr is the directed broadcast address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}

// hostOrderAddr turns the number that the kernel prints for an address (the
// four bytes read in the host's order) back into the address.
func hostOrderAddr(n uint32) netip.Addr {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
