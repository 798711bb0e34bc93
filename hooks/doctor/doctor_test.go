package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// host is a computer in a directory.
type host struct {
	t       *testing.T
	sys     System
	facts   Facts // what netlink and the keeper say
	outputs map[string]string
	config  string
}

// debian is a router as docs/debian.md makes one.
func debian(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, outputs: map[string]string{
		"nft": nft([]string{"nat postrouting accept", toWAN + "," + masquerade}), "conntrackd": "",
		"systemctl": "LoadState=loaded\nAfter=basic.target network-online.target\nStartLimitIntervalUSec=0\n",
	}}
	h.sys = System{Tree: files.Tree{Root: t.TempDir()}, Now: func() time.Time { return time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC) }, Run: h.run}
	h.facts = Facts{
		Version: "1.0", Parents: map[string]netif.Observed{"wan": {ParentExists: true, ParentMAC: "52:54:00:00:00:01"}},
		Addresses: map[string][]netip.Prefix{"eth1": {netip.MustParsePrefix("192.168.10.2/24"), netip.MustParsePrefix("fe80::1/64")}},
	}
	h.config = "config wan wan\n option parent eth2\n option macaddr 02:68:71:2e:62:67\n"
	h.write("/etc/keepalived/keepalived.conf", example(t, "keepalived/keepalived-fast.conf"))
	h.write("/etc/conntrackd/conntrackd.conf", example(t, "conntrackd/conntrackd-lan.conf"))
	h.write("/etc/systemd/network/10-wanfail.network", "[Match]\nName=wan\n\n[Link]\nUnmanaged=yes\n")
	h.write("/etc/systemd/network/50-lan.network", "[Match]\nName=eth1 w*\n\n[Network]\nDHCP=yes\n")
	h.write("/run/systemd/netif/leases", "")
	h.write("/run/systemd/system/x", "")
	h.write("/usr/sbin/conntrackd", "\x7fELF")
	h.program("/usr/sbin/wanfail")
	h.write("/usr/share/doc/wanfail/examples/conntrackd/x", "")
	h.write("/etc/sysctl.d/50-router.conf", "net.ipv4.ip_forward = 1\n# that\nnet.ipv6.conf.eth2.disable_ipv6 = 1\n")
	h.write("/proc/sys/net/ipv6/conf/eth2/disable_ipv6", "1\n")
	h.write("/proc/sys/net/ipv4/ip_forward", "1\n")
	h.write("/proc/sys/net/ipv4/conf/all/rp_filter", "0\n")
	h.write("/proc/sys/net/ipv4/conf/default/rp_filter", "2\n")
	h.write("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "0\n") // as on a fresh Debian
	h.write("/proc/sys/kernel/random/boot_id", "4b1d\n")
	h.write("/usr/sbin/ifup", "\x7fELF")
	h.write("/etc/network/interfaces", "auto lo\niface lo inet loopback\niface eth2 inet manual\n")
	return h
}

// openWrt is a router as docs/openwrt.md makes one.
func openWrt(t *testing.T) *host {
	t.Helper()
	h := debian(t)
	h.remove("/etc/keepalived/keepalived.conf")
	h.remove("/run/systemd")
	h.write("/etc/openwrt_release", "DISTRIB_ID='OpenWrt'\n")
	h.write("/etc/hotplug.d/keepalived/50-wanfail", "#!/bin/sh\n")
	h.write("/etc/rc.d/S94miniupnpd", "") // has to be enabled, see enabledServices
	h.program("/bin/busybox")
	call := func(e string) string {
		return "notify_" + e + ` "/bin/busybox env -i ACTION=NOTIFY_` + strings.ToUpper(e) + ` TYPE=INSTANCE NAME=VI_1 /sbin/hotplug-call keepalived"` + "\n"
	}
	h.write("/tmp/keepalived.conf", "global_defs {\nenable_script_security\n}\nvrrp_instance VI_1 {\ninterface br-lan\nvirtual_router_id 51\npriority 200\ntrack_interface {\neth2\n}\nvirtual_ipaddress {\n192.168.10.1/24\n}\n"+
		call("master")+call("backup")+call("fault")+call("stop")+"}\n")
	h.write("/etc/config/firewall", "config zone\n\toption name 'wan'\n\tlist network 'wan'\n\tlist network 'wan6'\n\tlist device 'wan'\n\toption masq '1'\n")
	h.write("/etc/config/network", "config interface 'lan'\n\toption device 'br-lan'\n\nconfig interface 'wan'\n\toption proto 'wanfail'\nconfig interface 'wport'\n\toption device 'eth2'\n\toption proto 'none'\n")
	h.write("/etc/config/dhcp", "config dhcp 'lan'\n\toption interface 'lan'\n\toption force '1'\n\tlist dhcp_option '3,192.168.10.1'\n\tlist dhcp_option '6,192.168.10.1'\n\toption ra 'disabled'\nconfig dhcp 'wan'\n\toption interface 'wan'\n\toption ignore '1'\n")
	return h
}

func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (h *host) run(_ context.Context, name string, _ ...string) ([]byte, error) {
	out, ok := h.outputs[name]
	if !ok {
		return nil, errors.New("not installed")
	}
	return []byte(out), nil
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.sys.Root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) program(name string) {
	h.write(name, "\x7fELF")
	h.chmod(name, 0o755)
	h.chmod("/", 0o755)
}

func (h *host) chmod(name string, mode os.FileMode) {
	if err := os.Chmod(filepath.Join(h.sys.Root, name), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(name string) {
	if err := os.RemoveAll(filepath.Join(h.sys.Root, name)); err != nil {
		h.t.Fatal(err)
	}
}

// edit replaces text in a file, which must be there.
func (h *host) edit(name, from, to string) {
	h.t.Helper()
	text := h.sys.Text(name)
	if !strings.Contains(text, from) {
		h.t.Fatalf("%s has no %q", name, from)
	}
	h.write(name, strings.ReplaceAll(text, from, to))
}

func (h *host) examine() Diagnosis {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "wanfail.conf")
	if err := os.WriteFile(path, []byte(h.config), 0o644); err != nil {
		h.t.Fatal(err)
	}
	f := h.facts
	f.Config, f.ConfigErr = config.Load(path)
	h.sys.Gather(h.t.Context(), &f)
	return Examine(&f)
}

func ids(d Diagnosis) (ids []string) {
	for _, f := range d.Findings {
		ids = append(ids, f.ID)
	}
	return ids
}

// A router that is set up as documented is clean.
func TestClean(t *testing.T) {
	for name, make := range map[string]func(*testing.T) *host{"debian": debian, "openwrt": openWrt} {
		t.Run(name, func(t *testing.T) {
			d := make(t).examine()
			if len(d.Findings) > 0 || d.Code() != 0 {
				t.Errorf("code %d, %+v", d.Code(), d.Findings)
			}
		})
	}
	for _, file := range []string{"keepalived.conf", "keepalived-fifo.conf", "keepalived-check.conf", "keepalived-drill.conf"} {
		t.Run(file, func(t *testing.T) {
			h := debian(t)
			h.write("/etc/keepalived/keepalived.conf", example(t, "keepalived/"+file))
			if d := h.examine(); len(d.Findings) > 0 {
				t.Errorf("%+v", d.Findings)
			}
		})
	}
}

const vrrp = "/etc/keepalived/keepalived.conf"

// Each finding is provoked, alone, on a router that is clean without it.
func TestFindings(t *testing.T) {
	cases := map[string]struct {
		on       func(*testing.T) *host
		provoke  func(h *host)
		want     []string
		severity Severity
	}{
		"configuration":  {debian, func(h *host) { h.config = "config wan wan\n option colour red\n" }, []string{"configuration"}, Error},
		"not root":       {debian, func(h *host) { h.facts.UID = 1000 }, []string{"root"}, Error},
		"keeper":         {debian, func(h *host) { h.facts.Keeper = control.ErrNoKeeper }, []string{"keeper"}, Error},
		"no keepalived":  {debian, func(h *host) { h.remove(vrrp) }, []string{"keepalived"}, Error},
		"no instance":    {debian, func(h *host) { h.write(vrrp, "global_defs {\n}\n") }, []string{"keepalived"}, Error},
		"no hooks":       {debian, func(h *host) { h.edit(vrrp, "notify_", "#notify_") }, []string{"notify"}, Error},
		"no stop":        {debian, func(h *host) { h.edit(vrrp, "notify_stop", "#") }, []string{"notify-stop"}, Error},
		"no fault":       {debian, func(h *host) { h.edit(vrrp, "notify_fault", "!") }, []string{"notify-fault"}, Error},
		"no backup":      {debian, func(h *host) { h.edit(vrrp, "notify_backup", "!") }, []string{"notify-backup"}, Error},
		"no master":      {debian, func(h *host) { h.edit(vrrp, "notify_master", "!") }, []string{"notify-master"}, Error},
		"hook missing":   {debian, func(h *host) { h.remove("/usr/sbin/wanfail") }, []string{"hook-missing"}, Error},
		"not executable": {debian, func(h *host) { h.chmod("/usr/sbin/wanfail", 0o644) }, []string{"hook-missing"}, Error},
		"writable":       {debian, func(h *host) { h.chmod("/usr/sbin", 0o777) }, []string{"hook-writable"}, Error},
		"writable, insecure": {debian, func(h *host) {
			h.chmod("/usr/sbin", 0o777)
			h.edit(vrrp, "enable_script_security", "")
		}, []string{"hook-writable"}, Warning},
		"owner": {debian, func(h *host) {
			if err := os.Chown(filepath.Join(h.sys.Root, "/usr/sbin/wanfail"), 1, 1); err != nil {
				h.t.Fatal(err)
			}
		}, []string{"hook-owner"}, Error},
		"script user": {debian, func(h *host) { h.edit(vrrp, "script_user root", "script_user nobody") }, []string{"hook-user"}, Error},
		"user in the log": {debian, func(h *host) {
			h.edit(vrrp, "script_user root", "")
			h.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nkeepalived_script:x:999:999::/:/bin/false\n")
		}, []string{"hook-user"}, Error},
		"no quotes": {debian, func(h *host) { h.edit(vrrp, `"/usr/sbin/wanfail primary"`, "/usr/sbin/wanfail primary") }, []string{"hook-user"}, Error},
		"generic and four": {debian, func(h *host) {
			h.edit(vrrp, "preempt_delay 30", "notify \"/usr/sbin/wanfail notify\"")
		}, []string{"several-hooks"}, Warning},
		"FIFO and four": {debian, func(h *host) {
			h.edit(vrrp, "enable_script_security", "enable_script_security\nvrrp_notify_fifo_script \"/usr/sbin/wanfail fifo\"")
		}, []string{"several-hooks"}, Warning},
		"adverts": {debian, func(h *host) { h.edit(vrrp, "version 3", "") }, []string{"advert-version"}, Error},
		"drill": {debian, func(h *host) {
			h.write(vrrp, example(h.t, "keepalived/keepalived-drill.conf"))
			h.write("/run/wanfail.drill", "-253\n")
		}, []string{"drill-left"}, Warning},
		"included": {debian, func(h *host) {
			h.write("/etc/keepalived/conf.d/a.conf", strings.ReplaceAll(h.sys.Text(vrrp), "notify_stop", "#"))
			h.write(vrrp, "include conf.d/*.conf\n")
		}, []string{"notify-stop"}, Error},
		"enabled":          {debian, func(h *host) { h.write("/etc/systemd/system/multi-user.target.wants/dnsmasq.service", "") }, []string{"enabled-dnsmasq"}, Warning},
		"enabled, OpenWrt": {openWrt, func(h *host) { h.write("/etc/rc.d/S19dnsmasq", "") }, []string{"enabled-dnsmasq"}, Warning},
		"NetworkManager": {debian, func(h *host) {
			h.write("/run/NetworkManager/x", "")
			h.outputs["nmcli"] = "eth1:connected\neth2:connected\nwan:unmanaged\n"
		}, []string{"networkmanager"}, Error},
		"networkd": {debian, func(h *host) { h.remove("/etc/systemd/network/10-wanfail.network") }, []string{"networkd"}, Error},
		"networkd, by what it says": {debian, func(h *host) {
			h.outputs["networkctl"] = `{"Interfaces":[{"Name":"lo"},{"Name":"wan","NetworkFile":"/etc/systemd/network/05-x.network","AdministrativeState":"configured"},{"Name":"eth2","NetworkFile":"/etc/systemd/network/05-x.network","AdministrativeState":"unmanaged"}]}`
		}, []string{"networkd"}, Error},
		"netifd, WAN":  {openWrt, func(h *host) { h.edit("/etc/config/network", "'wanfail'", "'dhcp'") }, []string{"netifd"}, Error},
		"netifd, port": {openWrt, func(h *host) { h.edit("/etc/config/network", "'none'", "'dhcp'") }, []string{"netifd"}, Error},
		"ifupdown":     {debian, func(h *host) { h.edit("/etc/network/interfaces", "manual", "dhcp") }, []string{"ifupdown"}, Error},
		"parent speaks": {debian, func(h *host) {
			h.facts.Parents["wan"] = netif.Observed{ParentExists: true, Warnings: []string{"parent eth2 speaks IPv6 with its own MAC; sysctl -w net.ipv6.conf.eth2.disable_ipv6=1"}}
		}, []string{"parent"}, Warning},
		"no parent": {debian, func(h *host) {
			h.facts.Parents["wan"] = netif.Observed{Warnings: []string{"parent eth2 does not exist"}}
		}, []string{"parent"}, Error},
		"kernel":          {debian, func(h *host) { h.facts.ParentErr = map[string]error{"wan": os.ErrPermission} }, []string{"kernel"}, Error},
		"parent's MAC":    {debian, func(h *host) { h.config = strings.ReplaceAll(h.config, "02:68:71:2e:62:67", "52:54:00:00:00:01") }, []string{"mac-parent"}, Error},
		"global MAC":      {debian, func(h *host) { h.config = strings.ReplaceAll(h.config, "02:68", "00:68") }, []string{"mac-global"}, Warning},
		"rp_filter":       {debian, func(h *host) { h.write("/proc/sys/net/ipv4/conf/wan/rp_filter", "1\n") }, []string{"rp-filter"}, Warning},
		"rp_filter to be": {debian, func(h *host) { h.write("/proc/sys/net/ipv4/conf/default/rp_filter", "1\n") }, []string{"rp-filter"}, Warning},
		"forwarding":      {debian, func(h *host) { h.write("/proc/sys/net/ipv4/ip_forward", "0\n") }, []string{"forwarding"}, Error},
		"liberal": {debian, func(h *host) {
			h.write("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "0\n")
			h.edit("/etc/conntrackd/conntrackd.conf", "TCPWindowTracking no", "TCPWindowTracking on")
		}, []string{"tcp-liberal"}, Warning},
		"no conntrackd": {debian, func(h *host) { h.remove("/usr/sbin/conntrackd") }, []string{"conntrackd"}, Warning},
		"conntrackd wanted": {debian, func(h *host) {
			h.remove("/etc/conntrackd/conntrackd.conf")
			h.config += "config wanfail\n option conntrackd 1\n"
		}, []string{"conntrackd"}, Error},
		"conntrackd filter": {debian, func(h *host) { h.edit("/etc/conntrackd/conntrackd.conf", "IPv4_address 192.168.10.1\n", "") }, []string{"conntrackd-filter"}, Warning},
		"own address": {debian, func(h *host) {
			h.edit("/etc/conntrackd/conntrackd.conf", "            IPv4_address 192.168.10.2\n", "")
		}, []string{"conntrackd-filter"}, Warning},
		"accepted address": {debian, func(h *host) {
			h.edit("/etc/conntrackd/conntrackd.conf", "Address Ignore {", "Address Accept\n{\nIPv4_address 203.0.113.0/24\n")
		}, []string{"conntrackd-filter"}, Warning},
		"no firewall":       {debian, func(h *host) { delete(h.outputs, "nft") }, []string{"firewall"}, Error},
		"rules for another": {debian, func(h *host) { h.outputs["nft"] = nft([]string{"nat postrouting accept", masquerade}) }, []string{"firewall-wan"}, Warning},
		"no zone":           {openWrt, func(h *host) { h.edit("/etc/config/firewall", "'wan'", "'other'") }, []string{"firewall-wan"}, Error},
		"sync hook": {openWrt, func(h *host) {
			h.write("/etc/hotplug.d/keepalived/509-dnsmasq", "#!/bin/sh\n/etc/init.d/dnsmasq restart\n")
		}, []string{"sync-hook"}, Warning},
		"keepalived stopped": {debian, func(h *host) {
			h.facts.Fitness = &fitness.Facts{Unit: services.Details{Installed: true, AtBoot: true}}
		}, []string{"keepalived-stopped"}, Error},
		"keepalived given up": {debian, func(h *host) {
			h.facts.Fitness = &fitness.Facts{Unit: services.Details{Installed: true, Failure: "it was restarted too often"}}
		}, []string{"keepalived-stopped"}, Error},
		"not at boot": {debian, func(h *host) {
			h.facts.Fitness = &fitness.Facts{Process: intent.Process{PID: 1}, Boot: []control.AtBoot{{Name: "keepalived"}, {Name: "wanfail", Enabled: true}}}
		}, []string{"boot-keepalived"}, Error},
		"firewall not at boot": {debian, func(h *host) {
			h.facts.Fitness = &fitness.Facts{Process: intent.Process{PID: 1}, Boot: []control.AtBoot{{Name: "nftables"}}}
		}, []string{"boot-nftables"}, Error},
		"masterless": {debian, func(h *host) {
			h.facts.Masterless = []keepalived.VIP{{Device: "eth1", Address: netip.MustParseAddr("192.168.10.1")}}
		}, []string{"no-master"}, Error},
		"no carrier": {debian, func(h *host) { h.facts.Running = map[string]bool{"eth1": true, "eth2": false} }, []string{"vrrp-fault"}, Error},
		"no LAN":     {debian, func(h *host) { h.facts.Running = map[string]bool{"eth2": true} }, []string{"vrrp-fault"}, Error},
		"FAULT":      {debian, func(h *host) { h.facts.Faults = []string{"VI_1"} }, []string{"vrrp-fault"}, Error},
		"role by hand": {debian, func(h *host) {
			h.facts.ByHand = []ByHand{{WAN: "wan", Role: intent.Primary, Text: "primary, set by hand; keepalived[7] says BACKUP: x"}}
		}, []string{"role-by-hand"}, Error},
		"what keepalived says": {debian, func(h *host) {
			h.outputs["keepalived"] = "(/etc/keepalived/keepalived.conf: Line 9) Unknown keyword 'colour'\nNote\n(/etc/keepalived/keepalived.conf: Line 3) (VI_1) tracked interface wan doesn't exist\n"
		}, []string{"keepalived-test"}, Warning},
		"wrong hook": {debian, func(h *host) { h.edit(vrrp, "wanfail primary", "wanfail backup") }, []string{"notify-role"}, Error},
		"no role":    {debian, func(h *host) { h.edit(vrrp, "wanfail primary", "wanfail") }, []string{"notify-role"}, Error},
		"FIFO, wrong": {debian, func(h *host) {
			h.write(vrrp, strings.ReplaceAll(example(h.t, "keepalived/keepalived-fifo.conf"), "wanfail fifo", "wanfail notify"))
		}, []string{"notify-role"}, Error},
		"state MASTER":  {debian, func(h *host) { h.edit(vrrp, "state BACKUP", "state MASTER") }, []string{"vrrp-state"}, Warning},
		"no tracking":   {debian, func(h *host) { h.edit(vrrp, "track_interface {\n        eth2", "track_interface {\n        eth9") }, []string{"track-interface"}, Warning},
		"tracks WAN":    {debian, func(h *host) { h.edit(vrrp, "track_interface {\n        eth2", "track_interface {\n        wan") }, []string{"track-wan"}, Error},
		"other gateway": {debian, func(h *host) { h.config += "config wanfail\n option backup_gateway 192.168.10.9\n" }, []string{"backup-gateway"}, Error},
		"unsaved":       {debian, func(h *host) { h.edit("/etc/sysctl.d/50-router.conf", "net.ipv4.ip_forward = 1", "") }, []string{"sysctl-file"}, Warning},
		"saved otherwise": {debian, func(h *host) {
			h.write("/usr/lib/sysctl.d/60-x.conf", "net/ipv4/ip_forward=0\n")
		}, []string{"sysctl-file"}, Warning},
		"strict after a boot":      {debian, func(h *host) { h.write("/etc/sysctl.d/a.conf", "net.ipv4.conf.all.rp_filter=1\n") }, []string{"sysctl-file"}, Warning},
		"port's IPv6":              {debian, func(h *host) { h.edit("/etc/sysctl.d/50-router.conf", "net.ipv6.conf.eth2.disable_ipv6 = 1", "") }, []string{"sysctl-file"}, Warning},
		"conntrackd stopped":       {debian, func(h *host) { delete(h.outputs, "conntrackd") }, []string{"conntrackd"}, Error},
		"conntrackd, no interface": {debian, func(h *host) { h.edit("/etc/conntrackd/conntrackd.conf", "Interface eth1", "Interface eth9") }, []string{"conntrackd-link"}, Error},
		"conntrackd, other interface": {debian, func(h *host) {
			h.facts.Addresses["eth3"] = []netip.Prefix{netip.MustParsePrefix("10.99.0.1/24")}
			h.edit("/etc/conntrackd/conntrackd.conf", "Interface eth1", "Interface eth3")
		}, []string{"conntrackd-link"}, Error},
		"conntrackd, no address": {debian, func(h *host) {
			h.facts.Addresses["eth3"] = nil
			h.write("/etc/conntrackd/conntrackd.conf", strings.ReplaceAll(strings.ReplaceAll(example(h.t, "conntrackd/conntrackd-link.conf"), "IPv4_address 10.99.0.2\n", "IPv4_address 10.99.0.2\nIPv4_address 192.168.10.1\nIPv4_address 192.168.10.2\n"), "IPv4_interface 10.99.0.1", "IPv4_interface 10.99.0.1"))
		}, []string{"conntrackd-link"}, Error},
		"small hash": {debian, func(h *host) { h.edit("/etc/conntrackd/conntrackd.conf", "HashSize 65536", "HashSize 8192") }, []string{"conntrackd-hash"}, Warning},
		"no hash":    {debian, func(h *host) { h.edit("/etc/conntrackd/conntrackd.conf", "HashSize 65536", "") }, []string{"conntrackd-hash"}, Warning},
		"Debian's unit": {debian, func(h *host) {
			h.outputs["systemctl"] = "LoadState=loaded\nAfter=basic.target\nStartLimitIntervalUSec=10s\n"
		}, []string{"conntrackd-unit"}, Warning},
		"networkd waits": {debian, func(h *host) {
			h.write("/etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service", "")
			h.write("/etc/systemd/network/50-lan.network", "[Match]\nName=eth1\n\n[Network]\nAddress=192.168.10.2/24\n")
		}, []string{"networkd-link"}, Warning},
		"a file of UCI's":          {openWrt, func(h *host) { h.write("/etc/config/dhcp", "config dhcp 'lan\n") }, []string{"uci"}, Error},
		"no interface for the WAN": {openWrt, func(h *host) { h.edit("/etc/config/network", "interface 'wan'", "interface 'isp'") }, []string{"netifd-wan"}, Error},
		"no masq":                  {openWrt, func(h *host) { h.edit("/etc/config/firewall", "option masq '1'", "") }, []string{"firewall-masquerade"}, Error},
		"no device":                {openWrt, func(h *host) { h.edit("/etc/config/firewall", "list device 'wan'", "") }, []string{"firewall-wan"}, Warning},
		"no gateway":               {openWrt, func(h *host) { h.edit("/etc/config/dhcp", "list dhcp_option '3,192.168.10.1'", "") }, []string{"dhcp-option"}, Error},
		"another resolver":         {openWrt, func(h *host) { h.edit("/etc/config/dhcp", "'6,192.168.10.1'", "'6,192.168.10.2'") }, []string{"dhcp-option"}, Error},
		"ra":                       {openWrt, func(h *host) { h.edit("/etc/config/dhcp", "'disabled'", "'server'") }, []string{"dhcp-ra"}, Warning},
		"force":                    {openWrt, func(h *host) { h.edit("/etc/config/dhcp", "option force '1'", "") }, []string{"dnsmasq-force"}, Warning},
		"clock":                    {debian, func(h *host) { h.sys.Now = func() time.Time { return time.Unix(0, 0) } }, []string{"clock"}, Warning},
		"boot id":                  {debian, func(h *host) { h.remove("/proc/sys/kernel/random") }, []string{"boot-id"}, Error},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := c.on(t)
			c.provoke(h)
			d := h.examine()
			got := ids(d)
			if name == "configuration" { // without one most cannot be told
				got = slices.DeleteFunc(got, func(id string) bool { return id != "configuration" })
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %v, want %v: %+v", got, c.want, d.Findings)
			}
			f := d.Findings[0]
			if f.Severity != c.severity || f.Found == "" || f.Why == "" || f.Fix == "" {
				t.Errorf("got %+v, want severity %s and all texts", f, c.severity)
			}
			if code := d.Code(); code != map[Severity]int{Warning: 1, Error: 2}[c.severity] {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// IDs are those in the source, and in the documentation; end-to-end scenarios
// provoke and correct each.
func TestIDs(t *testing.T) {
	docs, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range IDs() {
		if !strings.Contains(string(docs), "`"+strings.Replace(id, "*", "NAME", 1)+"`") {
			t.Errorf("docs/status.md does not name %s", id)
		}
	}
	for id, want := range map[string]string{"boot-id": "boot-id", "boot-wanfail": "boot-*", "enabled-dnsmasq": "enabled-*", "x": ""} {
		if got := Known(id); got != want {
			t.Errorf("%s is known as %q, want %q", id, got, want)
		}
	}
	var source string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && file != "doctor.go" && !strings.HasSuffix(file, "_test.go") {
			source += string(b)
		}
	}
	// Literals of calls and fields; those made of other words are in IDs only.
	for _, m := range regexp.MustCompile(`(?:\bone\(|ID: )"([a-z-]+)`).FindAllStringSubmatch(source, -1) {
		if id := m[1]; Known(id) == "" && !strings.HasSuffix(id, "-") {
			t.Errorf("%s is not among IDs", m[1])
		}
	}
}
