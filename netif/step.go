package netif

import (
	"fmt"
	"net/netip"
	"time"
)

// Op is what a Step does.
type Op uint8

// The operations, in the order in which a plan has them.
const (
	QuietParent Op = iota + 1 // have the parent answer ARP for its own addresses only
	SetUpParent
	DeleteLink // one of ours that is not as it should be
	AddLink
	MuteLink // while it is changed
	SetMTU
	MarkLink // alias, group and settings
	DisableIPv6
	SetUpLink
	AddAddress
	SetLifetime
	AddRoute
	DeleteRoute
	DeleteAddress
	UnmuteLink
	EndSessions // of an address that this router has no longer
)

// String is the short name of the operation, as WithStep and Changes have it.
func (o Op) String() string {
	names := [...]string{
		"", "quiet parent", "set up parent", "delete link", "add link", "mute link", "set mtu", "mark link", "disable ipv6", "set up link",
		"add address", "set lifetime", "add route", "delete route", "delete address", "unmute link", "end sessions",
	}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// Minor reports whether the operation is a detail of another one, of no interest to
// a person.
func (o Op) Minor() bool {
	return o == QuietParent || o == MarkLink || o == DisableIPv6 || o == SetUpLink || o == SetLifetime
}

// Step is one change of the kernel. What does not belong to its operation is zero.
type Step struct {
	Op     Op
	Device string // that it changes

	Parent string // AddLink
	MAC    string // AddLink
	MTU    int    // AddLink, SetMTU

	Prefix    netip.Prefix  // of an address
	Broadcast netip.Addr    // AddAddress, SetLifetime; zero: the last address of the prefix
	Valid     time.Duration // AddAddress, SetLifetime
	Route     Route         // AddRoute, DeleteRoute
}

// String tells what the step does.
func (s Step) String() string {
	switch s.Op {
	case QuietParent:
		return fmt.Sprintf("have parent %s answer ARP for its own addresses only", s.Device)
	case SetUpParent:
		return fmt.Sprintf("set parent %s up", s.Device)
	case DeleteLink:
		return "delete macvlan"
	case AddLink:
		return fmt.Sprintf("add macvlan on %s with %s", s.Parent, s.MAC)
	case MuteLink:
		return "mute while IPv6 comes back, to be silenced"
	case MarkLink:
		return "mark the link as wanfail's"
	case DisableIPv6:
		return "disable IPv6"
	case SetMTU:
		return fmt.Sprintf("set MTU %d", s.MTU)
	case SetUpLink:
		return "set the link up"
	case AddAddress:
		return fmt.Sprintf("add address %s", s.Prefix)
	case SetLifetime:
		return fmt.Sprintf("set the lifetime of %s", s.Prefix)
	case AddRoute:
		return fmt.Sprintf("add route %s", s.Route)
	case DeleteRoute:
		return fmt.Sprintf("remove route %s", s.Route)
	case DeleteAddress:
		return fmt.Sprintf("remove address %s", s.Prefix)
	case UnmuteLink:
		return "unmute"
	case EndSessions:
		return fmt.Sprintf("end the sessions of %s", s.Prefix.Addr())
	}
	return s.Op.String()
}
