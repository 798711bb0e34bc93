package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of connection entries (linux/netfilter/nfnetlink_conntrack.h), and the
// bit that has the kernel compare the destination of a tuple.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25

	ctaTupleIP = 1
	ctaIPv4Dst = 2

	ctaFilterDst = 1 << 1

	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
)

// endSessions deletes the connection entries that lead to an address which this
// router has no longer: what was translated to it, and what was sent to it. The next
// packet of such a session gets an entry with the present address, and the other
// end, which knows nothing of it, ends the session with a reset, where the client
// would wait for long otherwise. It returns how many there were.
//
// The kernel picks them out (Linux 5.8), so that a large table costs a walk through
// it in the kernel. An older one sends the whole table.
func (m *Manager) endSessions(addr netip.Addr) (n int, err error) {
	if own, err := m.nl.local(addr); own || err != nil {
		return 0, err // another interface has it
	}
	c, err := dialFamily(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("end the sessions of %s: %w", addr, err)
	}
	defer c.close()
	for _, tuple := range []int{ctaTupleReply, ctaTupleOrig} {
		found, err := c.findEntries(tuple, addr)
		if err != nil {
			return n, fmt.Errorf("list the sessions of %s: %w", addr, err)
		}
		for _, e := range found {
			_, err := c.do(ctDelete, unix.NLM_F_ACK, append([]nl.NetlinkRequestData{ctHeader()}, e...)...)
			switch {
			case err == nil:
				n++
			case !gone(err): // it may have ended by itself
				return n, fmt.Errorf("end a session of %s: %w", addr, err)
			}
		}
	}
	return n, nil
}

// ctHeader is the header of a request about IPv4 entries.
func ctHeader() nl.NetlinkRequestData {
	return &nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0}
}

// findEntries lists what identifies the entries one tuple of which has addr as its
// destination.
func (c *conn) findEntries(tuple int, addr netip.Addr) (found [][]nl.NetlinkRequestData, err error) {
	want := nl.NewRtAttr(tuple|unix.NLA_F_NESTED, nil)
	want.AddRtAttr(ctaTupleIP|unix.NLA_F_NESTED, nil).AddRtAttr(ctaIPv4Dst, addr.AsSlice())
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	for _, t := range []int{ctaTupleOrig, ctaTupleReply} { // the flags of a tuple have its number
		flags := uint32(0)
		if t == tuple {
			flags = ctaFilterDst
		}
		filter.AddRtAttr(t, nl.Uint32Attr(flags))
	}
	err = c.stream(ctGet, unix.NLM_F_DUMP, func(msg []byte) {
		if e, ok := parseEntry(msg, tuple, addr); ok {
			found = append(found, e)
		}
	}, ctHeader(), want, filter)
	return found, err
}

// parseEntry reads the payload of a connection entry.
func parseEntry(msg []byte, tuple int, addr netip.Addr) (id []nl.NetlinkRequestData, ok bool) {
	if len(msg) < nl.SizeofNfgenmsg || msg[0] != unix.AF_INET {
		return nil, false
	}
	for typ, val := range attributes(msg[nl.SizeofNfgenmsg:]) {
		if int(typ) == tuple {
			for typ, val := range attributes(val) {
				if typ != ctaTupleIP {
					continue
				}
				for typ, val := range attributes(val) {
					if typ == ctaIPv4Dst {
						dst, valid := netip.AddrFromSlice(val)
						ok = valid && dst == addr
					}
				}
			}
		}
		switch typ {
		case ctaTupleOrig:
			id = append(id, nl.NewRtAttr(ctaTupleOrig|unix.NLA_F_NESTED, append([]byte(nil), val...)))
		case ctaID, ctaZone:
			id = append(id, nl.NewRtAttr(int(typ), append([]byte(nil), val...)))
		}
	}
	return id, ok
}

// local reports whether an address is one of this router's.
func (c *conn) local(addr netip.Addr) (bool, error) {
	msgs, err := c.do(unix.RTM_GETROUTE, 0,
		&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Dst_len: 32}},
		nl.NewRtAttr(unix.RTA_DST, addr.AsSlice()))
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up %s: %w", addr, err)
	}
	return len(msgs) > 0 && len(msgs[0]) >= unix.SizeofRtMsg && nl.DeserializeRtMsg(msgs[0]).Type == unix.RTN_LOCAL, nil
}
