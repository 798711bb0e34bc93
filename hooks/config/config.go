package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/wanfail/wanfail/dhcp"
)

// Config is a whole, valid configuration.
type Config struct {
	// Services run while this router is primary and are stopped otherwise.
	Services []string
	// ServicesNamed tells that the file names them: each must be installed.
	// Defaults that are not installed are left out.
	ServicesNamed bool
	Conntrackd    Switch
	// BackupGateway is where the default route points while backup; zero: none.
	BackupGateway netip.Addr
	// LogLevel is the keeper's, unless its command line has one.
	LogLevel slog.Level
	WANs     []WAN
}

// WAN is one uplink.
type WAN struct {
	Name     string // of the macvlan interface
	Parent   string
	MAC      net.HardwareAddr // the address that both routers share
	Instance string           // VRRP instance or sync group that drives it; empty: any

	Metric       int // of the routes
	DefaultRoute bool
	PeerDNS      bool // use the DNS servers of the lease

	MTU int // of the interface, whatever the lease says; 0: the lease's

	// DHCP is the client as the file has it, complete but for Host and LeaseFile.
	DHCP dhcp.Config

	ARPInterval time.Duration // between two ARP requests to the gateway; 0: none
}

// Switch is an option that may be left to wanfail.
type Switch uint8

// The values of a Switch: `auto`, `0`, `1`.
const (
	Auto Switch = iota
	Off
	On
)

// DefaultServices are those of a router that serves a LAN; the ones that are
// installed count.
func DefaultServices() []string { return []string{"dnsmasq", "odhcpd", "miniupnpd"} }

// DefaultPath is the platform's place for the file: /etc/config/wanfail where
// UCI lives, else /etc/wanfail.conf.
func DefaultPath() string {
	if info, err := os.Stat("/etc/config"); err == nil && info.IsDir() {
		return "/etc/config/wanfail"
	}
	return "/etc/wanfail.conf"
}

// Load reads and validates the file at path. All mistakes are reported at once,
// each with file and line.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	sections, err := Parse(f)
	if err != nil {
		var syntax *SyntaxError
		if errors.As(err, &syntax) {
			return Config{}, fmt.Errorf("%s:%d: %s", path, syntax.Line, syntax.Msg)
		}
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	cfg, err := build(sections, path)
	if err != nil {
		return Config{}, err
	}
	return cfg, nil
}
