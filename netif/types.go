package netif

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Marks of what wanfail made.
const (
	// Group is the interface group (IFLA_GROUP) of links made by wanfail: the
	// letters "wanf". With another run directory than the usual one the upper half
	// of it is the same, see WithOwner.
	Group = 0x77616e66
	// Alias is their alias (IFLA_IFALIAS), after which comes the run directory if
	// that is not the usual one.
	Alias = "wanfail"
	// Protocol is the origin (rtm_protocol, IFA_PROTO) of their routes and
	// addresses. Numbers from 128 on are free for use, and neither iproute2's
	// rt_protos nor FRR knows this one.
	Protocol = 219
	// BackupProtocol is the origin of the default route that a backup uses for
	// itself, and of the rules that lead to it.
	BackupProtocol = 220
)

// Forever is the lifetime of an address that does not expire.
const Forever time.Duration = math.MaxInt64

// Errors on which a caller branches.
var (
	// ErrForeign: a link has the configured name, but wanfail did not make it.
	ErrForeign = errors.New("link is not wanfail's, remove or rename it")
	// ErrTwin: another link on the parent has the shared MAC.
	ErrTwin = errors.New("MAC is already in use")
	// ErrNoParent: the parent device does not exist (yet).
	ErrNoParent = errors.New("no such parent device: is `option parent` right?")
	// ErrNoLink: the link does not exist.
	ErrNoLink = errors.New("no such link")
	// ErrPermission: the kernel refused a change for lack of privilege.
	ErrPermission = errors.New("permission denied, CAP_NET_ADMIN is needed")
)

// Link identifies a WAN's macvlan.
type Link struct {
	Name   string
	Parent string
	MAC    net.HardwareAddr
	MTU    int // bytes; 0: the parent's. Never more than the parent's.
}

// Route is an IPv4 route over a WAN.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"` // zero: the destination is on the link
	Metric  int          `json:"metric,omitzero"`
	OnLink  bool         `json:"onlink,omitzero"` // the gateway is on the link whatever the prefix says; implied when it is outside the address's prefix
}

// String formats the route as ip-route(8) does.
func (r Route) String() string {
	var b strings.Builder
	b.WriteString(r.Dst.String())
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Gateway)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	return b.String()
}

// Desired is the state that Apply establishes.
type Desired struct {
	Link      Link
	Addr      netip.Prefix  // invalid: no address yet, and then no routes
	Broadcast netip.Addr    // zero: the last address of the prefix
	Valid     time.Duration // the kernel removes the address after it; whole seconds, rounded up; 0 or Forever: infinite
	Routes    []Route
	// Former is the address that the WAN had before, on this router or its peer; zero:
	// none. If it is another one, its sessions are ended.
	Former netip.Addr
}

// Changes says what an Apply did.
type Changes struct {
	Created bool     // the link was made (anew)
	Addr    bool     // the address was added, not merely given a new lifetime: worth announcing
	Routes  bool     // routes were added or removed
	Unmuted bool     // the link was mute: worth announcing
	Steps   []string // every change of the kernel in order; empty if all was as desired

	// Unusable are the desired routes that the kernel does not take: their gateway is
	// a broadcast address or the router's own, or out of reach. The others are there.
	Unusable []UnusableRoute
}

// UnusableRoute is a desired route that the kernel refused.
type UnusableRoute struct {
	Route Route
	Err   error
}

// None reports whether the kernel already was as desired.
func (c Changes) None() bool { return len(c.Steps) == 0 }

// Address is an address on a link.
type Address struct {
	Prefix netip.Prefix  `json:"prefix"`
	Valid  time.Duration `json:"valid"` // rest of the lifetime, Forever if infinite
	Owned  bool          `json:"owned"` // put there by wanfail
}

// Observed is what the kernel holds of a WAN.
type Observed struct {
	Exists    bool      `json:"exists"`  // a link of that name exists
	Owned     bool      `json:"owned"`   // and wanfail made it
	Kind      string    `json:"kind"`    // its kind, such as "macvlan"
	MAC       string    `json:"mac"`     // its MAC
	Parent    string    `json:"parent"`  // name of the device under it
	MTU       int       `json:"mtu"`     //
	Matches   bool      `json:"matches"` // owned, with parent and MAC as configured
	Up        bool      `json:"up"`      // administratively
	Carrier   bool      `json:"carrier"`
	Muted     bool      `json:"muted"` // nothing can leave
	Loose     bool      `json:"loose"` // one of the locks that keep it mute has been taken off: Mute puts it back
	Addresses []Address `json:"addresses"`
	Routes    []Route   `json:"routes"` // over the link in the main table, without those that the kernel made

	ParentExists  bool   `json:"parent_exists"`
	ParentUp      bool   `json:"parent_up"`
	ParentCarrier bool   `json:"parent_carrier"`
	ParentMAC     string `json:"parent_mac"`
	ParentMTU     int    `json:"parent_mtu"`

	state state // what Plan goes by
	owner owner // whose links are ours

	// Warnings name what is wrong or will be seen on the wire, with the remedy.
	Warnings []string `json:"warnings"`
}

// EventKind says what a Watch event is about.
type EventKind uint8

const (
	// Resync: events may be missing; look at everything anew. It is also the
	// first event of every Watch.
	Resync EventKind = iota
	// LinkChanged: a link appeared or changed.
	LinkChanged
	// LinkGone: a link was deleted.
	LinkGone
	// AddrAdded: an IPv4 address was added to a link of ours, or got a new lifetime.
	AddrAdded
	// AddrGone: an IPv4 address was removed from a link of ours.
	AddrGone
	// RouteAdded: an IPv4 route over a link of ours, or a route or routing rule with
	// our protocol, was added.
	RouteAdded
	// RouteGone: such a route or rule was removed. The kernel is silent about the routes
	// that it drops because a link went down or lost its last address.
	RouteGone
	// QdiscChanged: another queueing discipline was attached to the root of a link of
	// ours, or it was removed.
	QdiscChanged
)

// String is the name of the kind.
func (k EventKind) String() string {
	names := [...]string{"resync", "link changed", "link gone", "address added", "address gone", "route added", "route gone", "queueing discipline changed"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event kind %d", uint8(k))
}

// Event is one change in the kernel, made by whomever.
type Event struct {
	Kind    EventKind
	Name    string // of the link
	Owned   bool   // the link carries our mark
	Up      bool   // administratively
	Carrier bool
	MAC     string

	AltNames []string // alternative names of the link

	Parent        string // of a macvlan, else ""
	ParentUp      bool
	ParentCarrier bool

	Addr  netip.Prefix // AddrAdded, AddrGone
	Route Route        // RouteAdded, RouteGone
}

// Named reports whether the event is about a link of that name, be it an
// alternative one.
func (e Event) Named(name string) bool { return e.Name == name || slices.Contains(e.AltNames, name) }

// maxName is the length of a device name without its final zero (IFNAMSIZ).
const maxName = 15

// validate rejects what the kernel would refuse later, or accept and mean
// something else by.
func (l Link) validate() error {
	if err := validName(l.Name); err != nil {
		return fmt.Errorf("link %w", err)
	}
	if err := validName(l.Parent); err != nil {
		return fmt.Errorf("parent of %s: %w", l.Name, err)
	}
	switch {
	case l.Name == l.Parent:
		return fmt.Errorf("link %s is its own parent", l.Name)
	case len(l.MAC) != 6:
		return fmt.Errorf("link %s: MAC %q is not an Ethernet address", l.Name, l.MAC)
	case l.MAC[0]&1 != 0:
		return fmt.Errorf("link %s: MAC %s is a multicast address", l.Name, l.MAC)
	case l.MAC.String() == "00:00:00:00:00:00":
		return fmt.Errorf("link %s: MAC is all zero", l.Name)
	case l.MTU != 0 && l.MTU < minMTU:
		return fmt.Errorf("link %s: MTU %d is below %d", l.Name, l.MTU, minMTU)
	}
	return nil
}

// minMTU is the least that IPv4 allows (RFC 791). The kernel accepts less, and
// takes IPv4 off the device.
const minMTU = 68

// validName follows dev_valid_name in the kernel's net/core/dev.c, and leaves
// out the two names that have a meaning of their own in /proc/sys/net.
func validName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case len(name) > maxName:
		return fmt.Errorf("name %q is longer than %d bytes", name, maxName)
	case name == "." || name == ".." || name == "all" || name == "default":
		return fmt.Errorf("name %q is reserved", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == '%' || r > '~' }):
		return fmt.Errorf("name %q holds a character that device names must not have", name)
	}
	return nil
}

// validate rejects a state that cannot be meant.
func (d Desired) validate() error {
	if err := d.Link.validate(); err != nil {
		return err
	}
	if !d.Addr.IsValid() {
		if len(d.Routes) > 0 {
			return fmt.Errorf("link %s: routes without an address", d.Link.Name)
		}
		return nil
	}
	a := d.Addr.Addr()
	switch {
	case !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == limitedBroadcast:
		return fmt.Errorf("link %s: %s is no IPv4 host address", d.Link.Name, a)
	case d.Addr.Bits() == 0:
		return fmt.Errorf("link %s: address %s without a prefix", d.Link.Name, d.Addr)
	case d.Broadcast.IsValid() && !d.Broadcast.Is4():
		return fmt.Errorf("link %s: broadcast address %s is not IPv4", d.Link.Name, d.Broadcast)
	case d.Valid < 0:
		return fmt.Errorf("link %s: lifetime of %s ended %v ago", d.Link.Name, a, -d.Valid)
	}
	for _, r := range d.Routes {
		if err := r.validate(); err != nil {
			return fmt.Errorf("link %s: %w", d.Link.Name, err)
		}
	}
	return nil
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (r Route) validate() error {
	switch {
	case !r.Dst.IsValid() || !r.Dst.Addr().Is4():
		return fmt.Errorf("route to %v is not IPv4", r.Dst)
	case r.Dst != r.Dst.Masked():
		return fmt.Errorf("route to %v has host bits set", r.Dst)
	case r.Gateway.IsValid() && (!r.Gateway.Is4() || r.Gateway.IsUnspecified() || r.Gateway.IsMulticast()):
		return fmt.Errorf("route to %v: gateway %s is no IPv4 host address", r.Dst, r.Gateway)
	case r.Metric < 0 || int64(r.Metric) > math.MaxUint32:
		return fmt.Errorf("route to %v: metric %d is out of range", r.Dst, r.Metric)
	}
	return nil
}
