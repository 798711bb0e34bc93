package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
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
	Role      intent.Role
	Parents   map[string]netif.Observed // by WAN
	ParentErr map[string]error
	Addresses keepalived.Addresses
	Running   map[string]bool // the interfaces that are up with a carrier, of all; nil: not asked
	// Fitness is what the service manager says; nil: it was not asked.
	Fitness *fitness.Facts
	// Masterless are virtual addresses that nobody has, Faults the instances (or ""
	// for all) of which keepalived has reported FAULT last.
	Masterless []keepalived.VIP
	Faults     []string
	ByHand     []ByHand

	OpenWrt       bool
	Opkg          bool // OpenWrt before 25.12
	Systemd       bool
	ConfigPath    string
	Examples      string             // the directory of the package's examples, "" without
	Keepalived    *keepalived.Config // nil: none, or unreadable
	KeepalivedErr error
	Test          []string // what keepalived -t says

	Enabled []string // services of ours that the boot starts
	UCI     OpenWrt

	Claims        map[string]string // WAN or parent: what NetworkManager says of it
	Networkd      map[string]string // WAN or parent: the .network file that configures it
	NetworkdRuns  bool
	WaitOnline    bool                // a boot waits for systemd-networkd
	Links         map[string]*network // links to the peer that systemd-networkd configures
	Quiet         map[string]bool     // parents that are without IPv6 whatever sysctl says
	Ifupdown      []Trap              // interfaces of ours in /etc/network/interfaces
	IfupdownThere bool
	Stanzas       map[string]bool // parents that it knows

	Sysctl   map[string]string // below /proc/sys, those that matter
	Boots    []setting         // what a boot sets
	Forwards bool              // systemd-networkd forwards, whatever sysctl says

	Conntrackd Conntrackd
	Firewall   Firewall
	SyncHooks  []Trap // scripts that start or stop services of ours behind our back

	Now  time.Time
	Boot error // why there is no boot id
}

// ByHand is a role of a WAN that was set by hand and that keepalived contradicts.
type ByHand struct {
	WAN  string
	Role intent.Role
	Text string
}

// Trap is what was found in a file, and the commands that correct it.
type Trap struct{ Found, Fix string }

// Gather reads what can be read without asking the kernel through netlink or the
// keeper: those facts the caller has set.
func (s *System) Gather(ctx context.Context, f *Facts) {
	f.Now = s.Now()
	f.OpenWrt = s.Exists("/etc/openwrt_release")
	f.Opkg = s.Exists("/bin/opkg")
	f.Systemd = s.Exists("/run/systemd/system")
	for _, dir := range []string{"/usr/share/doc/wanfail/examples", "/usr/share/wanfail"} {
		if f.Examples == "" && s.Exists(dir+"/conntrackd") {
			f.Examples = dir
		}
	}
	f.Keepalived, f.KeepalivedErr = keepalived.Find(s.Tree)
	s.test(ctx, f)
	s.boot(f)
	s.gatherOpenWrt(f)
	s.conntrackd(ctx, f)
	s.claims(ctx, f)
	s.sysctl(f)
	s.firewall(ctx, f)
	if s.Text("/proc/sys/kernel/random/boot_id") == "" {
		f.Boot = errors.New("/proc/sys/kernel/random/boot_id cannot be read")
	}
}

// test asks keepalived what it thinks of its configuration; it fails if that has
// mistakes.
func (s *System) test(ctx context.Context, f *Facts) {
	if f.Keepalived == nil {
		return
	}
	out, _ := s.Run(ctx, "keepalived", "--config-test", "--use-file", f.Keepalived.File, "--log-console", "--dont-fork")
	for line := range strings.Lines(string(out)) {
		f.Test = append(f.Test, strings.TrimSpace(line))
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
	wans, ports := f.names()
	for _, w := range wans {
		keys = append(keys, "net/ipv4/conf/"+w+"/rp_filter")
	}
	for _, p := range ports {
		keys = append(keys, "net/ipv6/conf/"+p+"/disable_ipv6")
	}
	for _, key := range keys {
		if v := s.Text("/proc/sys/" + key); v != "" {
			f.Sysctl[key] = v
		}
	}
	f.Boots = s.sysctlFiles(f.Systemd)
}
