// Package netifd tells OpenWrt's network daemon about a WAN that wanfail keeps.
//
// netifd leaves an interface that it did not make alone, but then nobody else
// finds it either: the firewall has no device in its zone, dnsmasq no name
// servers and miniupnpd no external interface. With an `option proto 'wanfail'`
// interface of the same name, whose handler the OpenWrt package installs, they
// learn what the keeper publishes here.
//
// netifd marks the device as external: it neither sets it up or down nor puts
// an address on it. It does enter the routes it is told of, by replacing those
// with the same destination and metric; they are given the origin that ours
// have, so that the replacement is the same route. It also deletes them when the
// interface is taken down (`ifdown`, `network restart`); the keeper, which sees
// that, puts them back.
package netifd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wanfail/wanfail/services/command"
)

// What Detect looks for: the client of the bus and the handler of our protocol.
const (
	ubusPath    = "/bin/ubus"
	handlerPath = "/lib/netifd/proto/wanfail.sh"
)

// Bounds of one notification. ubus waits 30 s for a netifd that hangs, and the
// WAN works without it.
const (
	limit = 4 * time.Second
	pause = 100 * time.Millisecond // between two tries while netifd tears down
)

// Numbers of enum ubus_msg_status.
const (
	statusNotFound         = 4
	statusPermissionDenied = 6
	statusNotSupported     = 8 // by the interface's protocol
)

// status is the number that ubus(1) means by its exit code. It exits with the
// negative number when it has told the error to something that is no terminal
// (cli.c, ubus_cli_error, since OpenWrt 22.03), with the number itself for an
// object that does not exist and in older versions.
func status(exit *exec.ExitError) int {
	code := exit.ExitCode()
	if code > 127 {
		return 256 - code
	}
	return code
}

// ErrNoInterface tells that netifd has no interface of that name, or one with a
// protocol that takes no news, such as static.
var ErrNoInterface = errors.New("netifd has no such interface")

// Route is one route through the WAN.
type Route struct {
	Dst     netip.Prefix
	Gateway netip.Addr // zero: on-link
	Metric  int
	OnLink  bool // the gateway need not lie in the address's network
}

// Lease is what netifd and those who ask it want to know of a WAN.
type Lease struct {
	Addr      netip.Prefix
	Broadcast netip.Addr // zero: none
	Routes    []Route
	DNS       []netip.Addr
	Search    []string // domains, the own one first
}

// Notifier talks to netifd.
type Notifier struct {
	ubus   string
	origin uint8
}

// Detect returns a Notifier where netifd runs the network and knows our
// protocol, else nil. origin is the rtm_protocol of the keeper's routes.
func Detect(origin uint8) *Notifier { return detect("/", origin) }

func detect(root string, origin uint8) *Notifier {
	n := &Notifier{ubus: filepath.Join(root, ubusPath), origin: origin}
	for _, path := range []string{n.ubus, filepath.Join(root, handlerPath)} {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return nil
		}
	}
	return n
}

// notification is the argument of network.interface notify_proto
// (netifd, proto-ext.c and proto.c). Action 0 is an update of the link. Masks
// and the protocol are strings there, the metric is a number.
type notification struct {
	Interface string    `json:"interface"`
	Action    int       `json:"action"`
	LinkUp    bool      `json:"link-up"`
	IfName    string    `json:"ifname,omitempty"`
	External  *bool     `json:"address-external,omitempty"`
	Keep      *bool     `json:"keep,omitempty"`
	IPAddr    []address `json:"ipaddr,omitempty"`
	Routes    []route   `json:"routes,omitempty"`
	DNS       []string  `json:"dns,omitempty"`
	Search    []string  `json:"dns_search,omitempty"`
}

type address struct {
	IPAddr    string `json:"ipaddr"`
	Mask      string `json:"mask"`
	Broadcast string `json:"broadcast,omitempty"`
}

type route struct {
	Target  string `json:"target"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway,omitempty"`
	Metric  int    `json:"metric"`
	Proto   string `json:"proto"`
	OnLink  bool   `json:"onlink,omitempty"`
}

// Up says that the interface, which is also the device's name, holds the lease.
// It may be said again at any time, with the same or with another lease. While
// netifd tears the interface down (`ifup`, `network restart`) it refuses; Up
// then tries again until ctx ends or 4 s have passed.
func (n *Notifier) Up(ctx context.Context, iface string, l Lease) error {
	yes, no := true, false
	msg := notification{
		Interface: iface, LinkUp: true, IfName: iface, External: &yes,
		// Keep would leave what an earlier lease said beside what this one says.
		Keep:   &no,
		IPAddr: []address{{IPAddr: l.Addr.Addr().String(), Mask: strconv.Itoa(l.Addr.Bits())}},
	}
	if l.Broadcast.IsValid() {
		msg.IPAddr[0].Broadcast = l.Broadcast.String()
	}
	for _, r := range l.Routes {
		out := route{
			Target: r.Dst.Masked().Addr().String(), Netmask: strconv.Itoa(r.Dst.Bits()),
			Metric: r.Metric, Proto: strconv.Itoa(int(n.origin)), OnLink: r.OnLink,
		}
		if r.Gateway.IsValid() {
			out.Gateway = r.Gateway.String()
		}
		msg.Routes = append(msg.Routes, out)
	}
	for _, a := range l.DNS {
		msg.DNS = append(msg.DNS, a.String())
	}
	for _, d := range l.Search {
		// netifd writes these into a resolv.conf as they are.
		if domain(d) && !slices.Contains(msg.Search, d) {
			msg.Search = append(msg.Search, d)
		}
	}
	return n.notify(ctx, msg)
}

// Down says that the interface holds no address any more.
func (n *Notifier) Down(ctx context.Context, iface string) error {
	return n.notify(ctx, notification{Interface: iface})
}

func (n *Notifier) notify(ctx context.Context, msg notification) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	arg, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode notification of netifd: %w", err)
	}
	for {
		said, err := n.call(ctx, string(arg))
		var exit *exec.ExitError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("notify netifd of %s: %w", msg.Interface, errors.Join(ctx.Err(), err))
		case !errors.As(err, &exit):
			return fmt.Errorf("notify netifd of %s: %w", msg.Interface, err)
		case status(exit) == statusNotFound, status(exit) == statusNotSupported:
			return fmt.Errorf("notify netifd of %s: %w: /etc/config/network wants a section "+
				"config interface '%s' with option proto 'wanfail'", msg.Interface, ErrNoInterface, msg.Interface)
		case status(exit) != statusPermissionDenied:
			return fmt.Errorf("notify netifd of %s: ubus: %w: %.200s", msg.Interface, err, reason(said))
		case !msg.LinkUp:
			return nil // it is being torn down: that is what we came to ask for
		}
		// The end of a teardown is no event that ubus could wait for.
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// call runs ubus once, without a shell, and returns what it says of an error.
func (n *Notifier) call(ctx context.Context, arg string) (said string, err error) {
	return command.Command{Path: n.ubus, Args: []string{"call", "network.interface", "notify_proto", arg}}.Run(ctx)
}

// reason is what ubus says of an error, less the call that it repeats.
func reason(said string) string {
	if i := strings.LastIndex(said, "("); strings.HasPrefix(said, "Command failed: ubus ") && i > 0 {
		return strings.TrimSuffix(said[i+1:], ")")
	}
	return said
}

// domain accepts what may stand in the search list of a resolv.conf.
func domain(s string) bool {
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, "-") && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}
