package doctor

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/netif"
)

// Facts are all that the findings rest on.
type Facts struct {
	Version   string
	UID       int // of who asks
	Config    config.Config
	ConfigErr error
	Keeper    error // why the keeper cannot be asked
	Role      hooks.Role
	Parents   map[string]netif.Observed // by WAN
	ParentErr map[string]error

	OpenWrt       bool
	Opkg          bool // OpenWrt before 25.12
	Systemd       bool
	ConfigPath    string
	Keepalived    *keepalived.Config // nil: none, or unreadable
	KeepalivedErr error

	Enabled   []string          // services of ours that the boot starts
	Claims    map[string]string // WAN or parent: what NetworkManager says of it
	Networkd  map[string]string // WAN or parent: the .network file that configures it
	Netifd    []Trap            // what netifd's configuration says of WANs and parents
	Ifupdown  []Trap            // interfaces of ours in /etc/network/interfaces
	Sysctl    map[string]string // below /proc/sys, those that matter
	Addresses keepalived.Addresses

	Conntrackd Conntrackd
	Firewall   Firewall

	SyncHooks    []Trap   // scripts that start or stop services of ours behind our back
	DHCPUnforced []string // sections of /etc/config/dhcp

	Now  time.Time
	Boot error // why there is no boot id
}

// Trap is what was found in a file, and the commands that correct it.
type Trap struct{ Found, Fix string }

// Conntrackd is what there is of it.
type Conntrackd struct {
	Installed, Configured, Running bool
	Own                            []netip.Addr // this router's end of the links to the peer
	Ignore, Accept                 []netip.Prefix
	Ignores, Accepts               bool // there is a list of what to ignore, or of all that is not
	Filter                         bool // there is a filter to put it into
	Windows                        bool // TCPWindowTracking
}

// Firewall is what it says of the WANs.
type Firewall struct {
	From  string // "": there is none
	Names map[string]bool
	NAT   bool // it masquerades what is not told by the interface
	Zone  int  // of OpenWrt: the one for the WAN, -1 without one
}

// Gather reads what can be read without asking the kernel through netlink or the
// keeper: those facts the caller has set.
func (s *System) Gather(ctx context.Context, f *Facts) {
	f.Now = s.Now()
	f.OpenWrt = s.Exists("/etc/openwrt_release")
	f.Opkg = s.Exists("/bin/opkg")
	f.Systemd = s.Exists("/run/systemd/system")
	f.Keepalived, f.KeepalivedErr = keepalived.Find(s.Tree)
	s.boot(f)
	s.claims(ctx, f)
	s.sysctl(f)
	s.conntrackd(ctx, f)
	s.firewall(ctx, f)
	s.openWrt(f)
	if s.Text("/proc/sys/kernel/random/boot_id") == "" {
		f.Boot = errors.New("/proc/sys/kernel/random/boot_id cannot be read")
	}
}

// names are all interfaces of the configuration: WANs, then parents.
func (f *Facts) names() (wans, parents []string) {
	for _, w := range f.Config.WANs {
		wans = append(wans, w.Name)
		if !slices.Contains(parents, w.Parent) {
			parents = append(parents, w.Parent)
		}
	}
	return wans, parents
}

// boot looks at what the boot starts by itself.
func (s *System) boot(f *Facts) {
	for _, name := range f.Config.Services {
		begin := "/etc/rc[2-5].d/S??" + name // Debian without systemd
		switch {
		case f.OpenWrt:
			begin = "/etc/rc.d/S??" + name
		case f.Systemd:
			begin = "/etc/systemd/system/*.{wants,requires}/" + name + ".service"
		}
		if len(s.Glob(begin)) > 0 {
			f.Enabled = append(f.Enabled, name)
		}
	}
}

func (s *System) sysctl(f *Facts) {
	f.Sysctl = map[string]string{}
	keys := []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter",
		"net/netfilter/nf_conntrack_tcp_be_liberal",
	}
	wans, _ := f.names()
	for _, w := range wans {
		keys = append(keys, "net/ipv4/conf/"+w+"/rp_filter")
	}
	for _, key := range keys {
		if v := s.Text("/proc/sys/" + key); v != "" {
			f.Sysctl[key] = v
		}
	}
}
