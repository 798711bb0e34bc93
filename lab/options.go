package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Backend is how a router runs its services.
type Backend string

// Backends.
const (
	Systemd Backend = "systemd" // the router boots the image's systemd
	Init    Backend = "init"    // Debian's scripts in /etc/init.d, no systemd
)

// Scheme is who makes the WAN follow keepalived.
type Scheme string

// Schemes.
const (
	Wanfail    Scheme = "wanfail" // the binary under test
	Script     Scheme = "script"  // primary-backup.sh with udhcpc
	Careful    Scheme = "careful" // the same with a stop and a fault hook
	NoScheme   Scheme = "none"    // keepalived without hooks
	scriptPath        = "/usr/local/sbin/primary-backup.sh"
	binaryPath        = "/usr/sbin/wanfail"
	hookPath          = "/usr/local/sbin/hook"
)

// Server is the DHCP server of the ISP.
type Server string

// Servers.
const (
	Dnsmasq Server = "dnsmasq"
	Kea     Server = "kea"
	ISC     Server = "isc"
	Udhcpd  Server = "udhcpd"
)

// Options of a lab. The zero value is a lab with wanfail, systemd, dnsmasq as
// the ISP and an advert each 0.1 s.
type Options struct {
	Backend Backend
	Scheme  Scheme
	// Advert is keepalived's advert_int; a dead master is detected after three
	// of them and a bit. Default 100 ms, precision 10 ms.
	Advert time.Duration
	// NoPreempt keeps a returning router with the higher priority as backup.
	NoPreempt bool
	// PreemptDelay is how long a returning router waits, in whole seconds.
	PreemptDelay time.Duration
	// Conntrackd replicates sessions over the link between the routers.
	Conntrackd bool
	// ISPServer serves the leases, Lease long each (default 1 h).
	ISPServer Server
	Lease     time.Duration
	// Services that follow the role; nil: dnsmasq and miniupnpd.
	Services []string
	// BackupGateway gives a backup a default route through the virtual address, as
	// the guides recommend.
	BackupGateway bool
	// Hook is a shell script that keepalived calls in place of wanfail, with the
	// same argument; empty: wanfail itself.
	Hook string
	// WANOptions are further lines of the section 'wan' of wanfail.conf.
	WANOptions []string
	// Client is the line of primary-backup.sh that gets the address. Empty:
	// udhcpc in the background, as soon as it has a lease.
	Client, StopClient string
	// Bare routers are as Debian's installer leaves them: ports without an address,
	// no configuration, services enabled as their packages do it. The addresses of
	// the LAN are those of the documents. Scheme and Conntrackd mean nothing.
	Bare bool
	// Log receives a line for each step of the building; nil: none.
	Log io.Writer
}

// Validate tells what New would not accept.
func (o Options) Validate() error { return o.setDefaults() }

func (o *Options) setDefaults() error {
	if o.Backend == "" {
		o.Backend = Systemd
	}
	if o.Scheme == "" {
		o.Scheme = Wanfail
	}
	if o.ISPServer == "" {
		o.ISPServer = Dnsmasq
	}
	if o.Advert == 0 {
		o.Advert = 100 * time.Millisecond
	}
	if o.Lease == 0 {
		o.Lease = time.Hour
	}
	if o.Services == nil {
		o.Services = []string{"dnsmasq", "miniupnpd"}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Client == "" {
		o.Client, o.StopClient = "udhcpc -b -i wan -p /run/udhcpc.wan.pid -s /etc/udhcpc/default.script", "kill $(cat /run/udhcpc.wan.pid)"
	}
	if o.Bare && o.Backend != Systemd {
		return errors.New("a bare router runs systemd")
	}
	if o.Backend != Systemd && o.Backend != Init {
		return fmt.Errorf("unknown backend %q", o.Backend)
	}
	switch o.Scheme {
	case Wanfail, Script, Careful, NoScheme:
	default:
		return fmt.Errorf("unknown scheme %q", o.Scheme)
	}
	if o.Advert%(10*time.Millisecond) != 0 || o.Advert < 10*time.Millisecond {
		return fmt.Errorf("advert interval %v is not a multiple of 10 ms", o.Advert)
	}
	if _, err := ispConfig(o.ISPServer); err != nil {
		return err
	}
	return nil
}

// Addresses of the lab. The WAN's prefix is not one of those for documentation:
// miniupnpd takes them for private and refuses to work behind them.
var (
	WANPrefix    = netip.MustParsePrefix("203.0.114.0/24")
	Gateway      = netip.MustParseAddr("203.0.114.1")
	InternetAddr = netip.MustParseAddr("198.51.100.10")

	ispInside = netip.MustParsePrefix("198.51.100.1/24")
	poolFirst = netip.MustParseAddr("203.0.114.50")
	poolLast  = netip.MustParseAddr("203.0.114.99")
)

// Addresses of the LAN, in a lab that is not bare.
var (
	ClientAddr = usual.client
	VIP        = usual.vip
)

// addresses are those of the LAN and of the link between the routers.
type addresses struct {
	client       netip.Addr
	vip          netip.Prefix
	router, sync [2]netip.Prefix
}

var (
	usual = addressesIn("192.168.77.", "10.77.0.")
	// A bare lab has the addresses that the documents name.
	documented = addressesIn("192.168.10.", "10.99.0.")
)

func addressesIn(lan, sync string) addresses {
	a := addresses{client: netip.MustParseAddr(lan + "100"), vip: netip.MustParsePrefix(lan + "1/24")}
	for i := range a.router {
		a.router[i] = netip.MustParsePrefix(fmt.Sprintf("%s%d/24", lan, 2+i))
		a.sync[i] = netip.MustParsePrefix(fmt.Sprintf("%s%d/24", sync, 2+i))
	}
	return a
}

// SharedMAC is the one that both routers give to their WAN.
func SharedMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0x68, 0x71, 0x2e, 0x62, 0x67} }
