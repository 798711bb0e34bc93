package netif

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Indices into the arrays of per-device settings that a link message carries.
// Both orders are part of the kernel's interface: IPV4_DEVCONF_* in
// linux/ip.h, which starts at 1, and DEVCONF_* in linux/ipv6.h.
const (
	ipv4ARPIgnore          = 19
	ipv4PromoteSecondaries = 20
	ipv6DisableIPv6        = 26
)

const (
	macvlanKind = "macvlan"
	arphrdEther = unix.ARPHRD_ETHER

	iflaMacvlanMode   = 1
	macvlanModeBridge = 4
	iflaInetConf      = 1
	iflaInet6Conf     = 2
	iflaInet6AddrGen  = 8
	addrGenNone       = 1
	rtextSkipStats    = 1 << 3
)

// link is the part of a link message that matters here. Values of it can be
// compared with ==.
type link struct {
	index, parent, master int
	hardware              uint16 // ARPHRD_*
	name, kind, alias     string
	altNames              string // alternative names, each with a zero byte after it
	mac                   string // as bytes
	mtu                   int
	group, flags          uint32
	mode                  uint32 // of a macvlan
	qdisc                 string
	protoDown             bool   // somebody took the carrier away
	promote               bool   // promote_secondaries
	arpIgnore             uint32 // arp_ignore
	ipv6                  ipv6State
}

// ipv6State says what IPv6 may do on a link.
type ipv6State struct {
	present  bool // the kernel has IPv6 on this link
	disabled bool // disable_ipv6
	quiet    bool // addrgenmode none
}

func (s ipv6State) silent() bool { return !s.present || s.disabled && s.quiet }

func (l *link) up() bool      { return l.flags&unix.IFF_UP != 0 }
func (l *link) carrier() bool { return l.flags&unix.IFF_LOWER_UP != 0 }

// The two locks of a mute link. The kernel gives the carrier back when that of the
// parent changes, and leaves proto_down as it is.
func (l *link) blackholed() bool    { return l.qdisc == muteKind }
func (l *link) carrierLocked() bool { return l.protoDown && !l.carrier() }

// muted reports whether one of the locks holds, which is enough.
func (l *link) muted() bool { return l.blackholed() || l.carrierLocked() }

// named reports whether the link has a name, be it an alternative one.
func (l *link) named(name string) bool {
	return l.name == name || name != "" && slices.Contains(strings.Split(l.altNames, "\x00"), name)
}

func (l *link) hasMAC(mac net.HardwareAddr) bool { return l.mac == string(mac) }

func (l *link) macString() string { return net.HardwareAddr(l.mac).String() }

// lower is the index of the device that a macvlan on l has as its parent: the
// kernel skips a macvlan in between (macvlan_common_newlink).
func (l *link) lower() int {
	if l.kind == macvlanKind {
		return l.parent
	}
	return l.index
}

// describe says what a foreign link is, for errors.
func (l *link) describe() string {
	kind := l.kind
	if kind == "" {
		kind = "device"
	}
	s := fmt.Sprintf("%s %s (MAC %s)", kind, l.name, l.macString())
	switch dir, other := strings.CutPrefix(l.alias, Alias+" "); {
	case l.marked() && other:
		s += " of the wanfail whose run directory is " + dir
	case l.marked():
		s += " of the wanfail with the usual run directory"
	}
	return s
}

// parseLink reads the payload of an RTM_NEWLINK or RTM_DELLINK.
func parseLink(msg []byte) (link, error) {
	if len(msg) < unix.SizeofIfInfomsg {
		return link{}, errors.New("short link message")
	}
	info := nl.DeserializeIfInfomsg(msg)
	l := link{index: int(info.Index), hardware: info.Type, flags: info.Flags}
	for typ, val := range attributes(msg[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = cstring(val)
		case unix.IFLA_ADDRESS:
			l.mac = string(val)
		case unix.IFLA_MTU:
			l.mtu = int(u32(val))
		case unix.IFLA_LINK:
			l.parent = int(u32(val))
		case unix.IFLA_MASTER:
			l.master = int(u32(val))
		case unix.IFLA_GROUP:
			l.group = u32(val)
		case unix.IFLA_IFALIAS:
			l.alias = cstring(val)
		case unix.IFLA_PROTO_DOWN:
			l.protoDown = len(val) >= 1 && val[0] != 0
		case unix.IFLA_QDISC:
			l.qdisc = cstring(val)
		case unix.IFLA_PROP_LIST:
			for typ, val := range attributes(val) {
				if typ == unix.IFLA_ALT_IFNAME {
					l.altNames += cstring(val) + "\x00"
				}
			}
		case unix.IFLA_LINKINFO:
			l.parseInfo(val)
		case unix.IFLA_AF_SPEC:
			l.parseFamilies(val)
		}
	}
	return l, nil
}

func (l *link) parseInfo(b []byte) {
	for typ, val := range attributes(b) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			l.kind = cstring(val)
		case unix.IFLA_INFO_DATA:
			for typ, val := range attributes(val) {
				// Other kinds number their attributes differently; the
				// mode is looked at for macvlans only.
				if typ == iflaMacvlanMode {
					l.mode = u32(val)
				}
			}
		}
	}
}

func (l *link) parseFamilies(b []byte) {
	for family, val := range attributes(b) {
		for typ, val := range attributes(val) {
			switch {
			case family == unix.AF_INET && typ == iflaInetConf && len(val) >= 4*ipv4PromoteSecondaries:
				l.promote = u32(val[4*(ipv4PromoteSecondaries-1):]) != 0
				l.arpIgnore = u32(val[4*(ipv4ARPIgnore-1):])
			case family == unix.AF_INET6 && typ == iflaInet6Conf && len(val) >= 4*(ipv6DisableIPv6+1):
				l.ipv6.present = true
				l.ipv6.disabled = u32(val[4*ipv6DisableIPv6:]) != 0
			case family == unix.AF_INET6 && typ == iflaInet6AddrGen && len(val) >= 1:
				l.ipv6.quiet = val[0] == addrGenNone
			}
		}
	}
}

// getLink finds a link by name. A missing one is ErrNoLink.
func (c *conn) getLink(name string) (link, error) {
	msgs, err := c.do(unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextSkipStats)),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	switch {
	case gone(err):
		return link{}, fmt.Errorf("find link %s: %w", name, ErrNoLink)
	case err != nil:
		return link{}, refused("find link "+name, err)
	case len(msgs) == 0:
		return link{}, fmt.Errorf("find link %s: empty answer", name)
	}
	return parseLink(msgs[0])
}

// listLinks lists links, of one kind if kind is not empty.
func (c *conn) listLinks(kind string) ([]link, error) {
	parts := []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextSkipStats)),
	}
	if kind != "" {
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
		parts = append(parts, info)
	}
	msgs, err := c.dump(unix.RTM_GETLINK, parts...)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]link, 0, len(msgs))
	for _, msg := range msgs {
		l, err := parseLink(msg)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		if kind == "" || l.kind == kind {
			links = append(links, l)
		}
	}
	return links, nil
}

// addLink creates the macvlan, down and marked, in one message.
func (m *Manager) addLink(ctx context.Context, want Link, parent *link, mtu int) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(macvlanKind))
	info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(iflaMacvlanMode, nl.Uint32Attr(macvlanModeBridge))
	err := m.write(ctx, "add link", fmt.Sprintf("%s on %s", want.Name, want.Parent),
		unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Name)),
		nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(parent.index))),
		nl.NewRtAttr(unix.IFLA_ADDRESS, want.MAC),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(m.owner.group)),
		info)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: does the kernel have macvlan (on OpenWrt: kmod-macvlan)?", err)
	case errors.Is(err, unix.EBUSY) && parent.master != 0:
		return fmt.Errorf("%w: %s is a port of a bridge or bond; use that as the parent, or take the port out", err, parent.name)
	}
	return err
}

// arpIgnoreOthers is the value of arp_ignore with which a device answers ARP for
// its own addresses only.
const arpIgnoreOthers = 1

// markLink gives the link its alias (and its group, should somebody have
// changed that), keeps IPv6 from making addresses on it, has it answer ARP for
// its own addresses only, and has the kernel keep a link's other addresses when
// the first one of a prefix is removed.
func (m *Manager) markLink(ctx context.Context, l *link) error {
	families := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := families.AddRtAttr(unix.AF_INET, nil).AddRtAttr(iflaInetConf, nil)
	conf.AddRtAttr(ipv4PromoteSecondaries, nl.Uint32Attr(1))
	conf.AddRtAttr(ipv4ARPIgnore, nl.Uint32Attr(max(l.arpIgnore, arpIgnoreOthers)))
	if l.ipv6.present { // the kernel refuses a family that it does not have
		families.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(iflaInet6AddrGen, nl.Uint8Attr(addrGenNone))
	}
	return m.write(ctx, "mark link", l.name, unix.RTM_SETLINK, 0, l.ref(),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(m.owner.group)),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(m.owner.alias)),
		families)
}

// quietParent has the parent answer ARP for its own addresses only. A broadcast
// reaches the parent as well as the macvlan, and by default (arp_ignore 0) a
// device answers for every address of the machine: the parent would claim the
// WAN's address for its own MAC, also while the macvlan is mute.
func (m *Manager) quietParent(ctx context.Context, p *link) error {
	families := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	families.AddRtAttr(unix.AF_INET, nil).AddRtAttr(iflaInetConf, nil).
		AddRtAttr(ipv4ARPIgnore, nl.Uint32Attr(arpIgnoreOthers))
	return m.write(ctx, "quiet parent", p.name, unix.RTM_SETLINK, 0, p.ref(), families)
}

// silenceIPv6 switches IPv6 off. There is no netlink message for it.
func (m *Manager) silenceIPv6(ctx context.Context, l *link) error {
	const step = "disable ipv6"
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s on %s: %w", step, l.name, err)
	}
	m.step(step)
	// The path stays inside its directory: a device name holds no slash.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+l.name+"/disable_ipv6", []byte("1"), 0)
	m.log.Debug(step, "what", l.name, "error", err)
	return refused(step+" on "+l.name, err)
}

func (m *Manager) setUp(ctx context.Context, step string, l *link) error {
	ref := l.ref()
	ref.Flags, ref.Change = unix.IFF_UP, unix.IFF_UP
	return m.write(ctx, step, l.name, unix.RTM_SETLINK, 0, ref)
}

func (m *Manager) setDown(ctx context.Context, step string, l *link) error {
	ref := l.ref()
	ref.Change = unix.IFF_UP
	return m.write(ctx, step, l.name, unix.RTM_SETLINK, 0, ref)
}

func (m *Manager) setMTU(ctx context.Context, l *link, mtu int) error {
	return m.write(ctx, "set mtu", fmt.Sprintf("%d on %s", mtu, l.name), unix.RTM_SETLINK, 0, l.ref(),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
}

// deleteLink deletes by index: a name may belong to another link by now. The link
// is silent at once, but the kernel answers only when nothing refers to the link
// any more, after 10 to 30 ms. The socket is therefore one of its own: nobody
// else, such as the Mute of another WAN, shall wait for that.
func (m *Manager) deleteLink(ctx context.Context, l *link) (bool, error) {
	c, err := dial()
	if err != nil {
		return false, fmt.Errorf("delete link %s: %w", l.name, err)
	}
	defer c.close()
	err = m.writeTo(ctx, c, "delete link", l.name, unix.RTM_DELLINK, 0, l.ref())
	if gone(err) {
		return false, nil
	}
	return err == nil, err
}

// ref is the header of a request about the link.
func (l *link) ref() *nl.IfInfomsg {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(l.index)
	return info
}

// findTwins lists the links other than name that hold mac on the device with
// index lower: the device itself, or macvlans on it. Links in other namespaces
// are out of sight.
func (c *conn) findTwins(name string, parent *link, mac net.HardwareAddr) ([]link, error) {
	links, err := c.listLinks(macvlanKind)
	if err != nil {
		return nil, err
	}
	var twins []link
	if bytes.Equal([]byte(parent.mac), mac) {
		twins = append(twins, *parent)
	}
	for _, l := range links {
		if l.parent == parent.lower() && l.hasMAC(mac) && l.name != name && l.index != parent.index {
			twins = append(twins, l)
		}
	}
	return twins, nil
}

// getLinkIndex finds a link by index. A missing one is ErrNoLink.
func (c *conn) getLinkIndex(index int) (link, error) {
	want := link{index: index}
	msgs, err := c.do(unix.RTM_GETLINK, 0, want.ref(),
		nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextSkipStats)))
	switch {
	case gone(err):
		return link{}, fmt.Errorf("find link %d: %w", index, ErrNoLink)
	case err != nil:
		return link{}, refused(fmt.Sprintf("find link %d", index), err)
	case len(msgs) == 0:
		return link{}, fmt.Errorf("find link %d: empty answer", index)
	}
	return parseLink(msgs[0])
}
