package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Router is one of the two.
type Router struct {
	*Node
	l     *Lab
	index int
	// Without systemd keepalived is our own child.
	keepalived *Process
	// Called when the router has booted, before anything of the lab starts.
	onBoot func() error
}

// notify is a line of keepalived.conf.
type notify struct{ Event, Command string }

func (l *Lab) newRouter(i int, mac func(machine, iface byte) net.HardwareAddr) (*Router, error) {
	n, err := newNode(sandbox.Spec{Name: "ar" + strconv.Itoa(i), Systemd: l.opt.Backend == Systemd},
		jack{switchLAN, "eth1", mac(byte(16+i), 1), []string{l.addr.router[i].String()}},
		jack{switchISP, "eth2", mac(byte(16+i), 2), nil},
		jack{switchSync, "eth3", mac(byte(16+i), 3), []string{l.addr.sync[i].String()}})
	if err != nil {
		return nil, err
	}
	r := &Router{Node: n, l: l, index: i}
	configure := r.configure
	if l.opt.Bare {
		configure = r.asInstalled
	}
	if err := configure(); err != nil {
		return nil, fmt.Errorf("configure %s: %w", n.Name, err)
	}
	return r, nil
}

// configure fills the disk.
func (r *Router) configure() error {
	r.sysctl = map[string]string{"net/ipv4/ip_forward": "1"}
	o, a := r.l.opt, r.l.addr
	i, peer := r.index, 1-r.index
	data := map[string]any{
		"Name": r.Name, "Index": i, "Priority": 250 - 30*i, "VIP": a.vip, "VIPAddr": a.vip.Addr(), "ISP": Gateway,
		"Advert":    strconv.FormatFloat(o.Advert.Seconds(), 'f', 2, 64),
		"NoPreempt": o.NoPreempt, "PreemptDelay": int(o.PreemptDelay.Seconds()),
		"LAN": a.router[i].Addr(), "LANPeer": a.router[peer].Addr(),
		"Sync": a.sync[i].Addr(), "SyncPeer": a.sync[peer].Addr(),
		"SharedMAC": SharedMAC(), "Services": o.Services, "Conntrackd": o.Conntrackd, "WANOptions": o.WANOptions, "BackupGateway": o.BackupGateway,
		"Systemd": o.Backend == Systemd, "Client": o.Client, "StopClient": o.StopClient,
		"Notify": notifies(o),
	}
	type file struct {
		template, path string
		mode           os.FileMode
		wanted         bool
	}
	for _, f := range []file{
		{"keepalived.conf", "/etc/keepalived/keepalived.conf", 0o644, true},
		{"nftables.conf", "/etc/nftables.conf", 0o755, true},
		{"dnsmasq-lan.conf", "/etc/dnsmasq.d/lan.conf", 0o644, true},
		{"miniupnpd.conf", "/etc/miniupnpd/miniupnpd.conf", 0o644, true},
		{"conntrackd.conf", "/etc/conntrackd/conntrackd.conf", 0o644, o.Conntrackd},
		{"wanfail.conf", "/etc/wanfail.conf", 0o644, o.Scheme == Wanfail},
		{"primary-backup.sh.tmpl", scriptPath, 0o755, o.Scheme == Script || o.Scheme == Careful},
	} {
		if !f.wanted {
			continue
		}
		text, err := render(f.template, data)
		if err != nil {
			return err
		}
		if err := r.WriteFile(f.path, text, f.mode); err != nil {
			return err
		}
	}
	if o.Hook != "" {
		if err := r.WriteFile(hookPath, o.Hook, 0o755); err != nil {
			return err
		}
	}
	// The firewall is ours; Debian's helper would insist on its own tables.
	if err := r.WriteFile("/etc/default/miniupnpd",
		"MiniUPnPd_PRESTART_COMMAND=true\nMiniUPnPd_POSTSTOP_COMMAND=true\n", 0o644); err != nil {
		return err
	}
	// Its unit names the file, its init script leaves it at the default.
	if err := r.disk.Symlink("miniupnpd/miniupnpd.conf", "/etc/miniupnpd.conf"); err != nil {
		return err
	}
	if err := r.writeMachineID(); err != nil {
		return err
	}
	enabled := []string{"nftables.service"}
	if o.Conntrackd {
		enabled = append(enabled, "conntrackd.service")
	}
	if o.Scheme == Wanfail {
		b, err := program()
		if err != nil {
			return err
		}
		if err := r.disk.WriteFile(binaryPath, b, 0o755); err != nil {
			return err
		}
		unit, err := serviceUnit()
		if err != nil {
			return fmt.Errorf("read the service unit: %w", err)
		}
		if err := r.WriteFile("/usr/lib/systemd/system/wanfail.service", string(unit), 0o644); err != nil {
			return err
		}
		enabled = append(enabled, "wanfail.service")
	}
	for _, unit := range enabled {
		if err := r.disk.Symlink("/usr/lib/systemd/system/"+unit, "/etc/systemd/system/multi-user.target.wants/"+unit); err != nil {
			return err
		}
	}
	return nil
}

// writeMachineID: systemd generates one at each boot of a machine that has none.
func (r *Router) writeMachineID() error {
	return r.WriteFile("/etc/machine-id", fmt.Sprintf("%032x\n", 0x1ab0+r.index), 0o444)
}

// notifies are the hooks of a scheme.
func notifies(o Options) []notify {
	switch o.Scheme {
	case Wanfail:
		hook := binaryPath
		if o.Hook != "" {
			hook = hookPath
		}
		all := []notify{
			{"notify_master", hook + " primary"},
			{"notify_backup", hook + " backup"},
			{"notify_fault", hook + " fault"},
			{"notify_stop", hook + " stop"},
		}
		if o.Hook == "" {
			all = append(all, notify{"notify_master_rx_lower_pri", hook + " announce"})
		}
		return all
	case Script: // as in every tutorial
		return []notify{
			{"notify_master", scriptPath + " primary"},
			{"notify_backup", scriptPath + " backup"},
		}
	case Careful:
		return []notify{
			{"notify_master", scriptPath + " primary"},
			{"notify_backup", scriptPath + " backup"},
			{"notify_fault", scriptPath + " backup"},
			{"notify_stop", scriptPath + " backup"},
		}
	}
	return nil
}

// Boot switches the router on, after New only needed after Crash.
func (r *Router) Boot(ctx context.Context) error {
	if r.On() {
		return fmt.Errorf("%s is on already", r.Name)
	}
	if err := r.boot(); err != nil {
		return err
	}
	if r.onBoot != nil {
		if err := r.onBoot(); err != nil {
			return err
		}
	}
	if r.l.opt.Backend == Systemd {
		return nil
	}
	// What Debian's rc would start; syslogd, since somebody must read /dev/log.
	commands := [][]string{
		{"busybox", "syslogd", "-O", "/var/log/syslog"},
		{"nft", "-f", "/etc/nftables.conf"},
	}
	if r.l.opt.Conntrackd {
		commands = append(commands, []string{"/etc/init.d/conntrackd", "start"})
	}
	for _, c := range commands {
		if _, err := r.Run(ctx, c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Crash is a power cut.
func (r *Router) Crash() error {
	r.keepalived = nil
	return r.powerOff(r.l)
}

// PowerOff is the orderly way: systemd stops everything, then the machine.
func (r *Router) PowerOff(ctx context.Context) error {
	return r.GoDown(ctx, "systemctl", "poweroff")
}

// GoDown runs a command that ends with the machine going down, and returns when it
// has. The command must not fail before that.
func (r *Router) GoDown(ctx context.Context, name string, arg ...string) error {
	m, err := r.machine()
	if err != nil {
		return err
	}
	p, err := r.Start(ctx, name, arg...)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		// How it ends once the machine kills its processes tells nothing.
		if err := p.Wait(); exitCode(err) > 0 {
			failed <- fmt.Errorf("%w: %s", err, p.Output())
		}
	}()
	select {
	case <-m.Dead():
	case err := <-failed:
		return fmt.Errorf("take %s down: %w", r.Name, err)
	case <-ctx.Done():
		return fmt.Errorf("take %s down: %w", r.Name, context.Cause(ctx))
	}
	return r.Crash()
}

// exitCode of a process that ended by itself; -1 for one that was killed.
func exitCode(err error) int {
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// LAN and WAN are the router's ports on the switches.
func (r *Router) LAN() Port { return portOf(switchLAN, r.Name) }
func (r *Router) WAN() Port { return portOf(switchISP, r.Name) }

// Sync is its port on the link between the routers.
func (r *Router) Sync() Port { return portOf(switchSync, r.Name) }

// BootsWithoutCable takes the cable out of a port of the router at its next boot;
// Plug puts it in.
func (r *Router) BootsWithoutCable(port Port) { r.loose = map[Port]bool{port: true} }

// Address is the router's own on the LAN, the source of its adverts.
func (r *Router) Address() netip.Addr { return r.l.addr.router[r.index].Addr() }

// StartKeepalived returns when keepalived runs; the election is still to come.
func (r *Router) StartKeepalived(ctx context.Context) error {
	if r.l.opt.Backend == Systemd {
		_, err := r.Run(ctx, "systemctl", "start", "keepalived")
		return err
	}
	if r.keepalived != nil {
		return fmt.Errorf("%s: keepalived is running", r.Name)
	}
	p, err := r.Start(context.WithoutCancel(ctx), "keepalived", "--dont-fork", "--log-detail")
	if err != nil {
		return err
	}
	r.keepalived = p
	return Eventually(ctx, r.Name+": keepalived", func() (bool, error) {
		select {
		case <-p.Done():
			return false, fmt.Errorf("ended (%v): %s", p.Wait(), p.Output())
		default:
		}
		_, err := r.ReadFile("/run/keepalived.pid")
		return err == nil, nil
	})
}

// StopKeepalived is the administrator's stop, as for an upgrade. It returns when
// keepalived, and with it its stop hook, has ended.
func (r *Router) StopKeepalived(ctx context.Context) error {
	if r.l.opt.Backend == Systemd {
		_, err := r.Run(ctx, "systemctl", "stop", "keepalived")
		return err
	}
	if r.keepalived == nil {
		return fmt.Errorf("%s: keepalived is not running", r.Name)
	}
	r.keepalived.Stop(10 * time.Second)
	r.keepalived = nil
	return nil
}

// HoldsVIP tells whether keepalived has put the virtual address here.
func (r *Router) HoldsVIP() (bool, error) {
	addrs, err := r.Addrs("eth1")
	for _, a := range addrs {
		if a.Addr() == r.l.VIP() {
			return true, nil
		}
	}
	return false, err
}

// Addrs are the IPv4 addresses of an interface, none when there is no such
// interface.
func (n *Node) Addrs(iface string) (addrs []netip.Prefix, err error) {
	err = n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(iface)
		if err != nil {
			if errors.As(err, &netlink.LinkNotFoundError{}) {
				return nil
			}
			return err
		}
		list, err := h.AddrList(link, netlink.FAMILY_V4)
		for _, a := range list {
			ip, _ := netip.AddrFromSlice(a.IP.To4())
			ones, _ := a.Mask.Size()
			addrs = append(addrs, netip.PrefixFrom(ip, ones))
		}
		return err
	})
	return addrs, err
}

// Link describes a network interface of the machine; nil without one.
func (n *Node) Link(iface string) (link netlink.Link, err error) {
	err = n.Netlink(func(h *netlink.Handle) error {
		link, err = h.LinkByName(iface)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			link = nil
			return nil
		}
		return err
	})
	return link, err
}

// DefaultGateway of the machine and the interface it is reached by; the zero
// address without a default route.
func (n *Node) DefaultGateway() (gw netip.Addr, iface string, err error) {
	err = n.Netlink(func(h *netlink.Handle) error {
		routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		if err != nil || len(routes) == 0 {
			return err
		}
		gw, _ = netip.AddrFromSlice(routes[0].Gw.To4())
		link, err := h.LinkByIndex(routes[0].LinkIndex)
		if err == nil {
			iface = link.Attrs().Name
		}
		return err
	})
	return gw, iface, err
}

// HasWAN tells whether the router has a WAN that works by its own account: an
// address on it and a default route through it.
func (r *Router) HasWAN() (netip.Prefix, bool, error) {
	addrs, err := r.Addrs("wan")
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}, false, err
	}
	gw, iface, err := r.DefaultGateway()
	return addrs[0], err == nil && gw == Gateway && iface == "wan", err
}

// Running tells whether a service runs, by the word of its backend.
func (r *Router) Running(ctx context.Context, service string) (bool, error) {
	command := []string{"/etc/init.d/" + service, "status"}
	if r.l.opt.Backend == Systemd {
		command = []string{"systemctl", "is-active", "--quiet", service}
	}
	_, err := r.Run(ctx, command[0], command[1:]...)
	var exit *ExitError
	if errors.As(err, &exit) {
		return false, nil
	}
	return err == nil, err
}

// Log is the router's system log, for people.
func (r *Router) Log(ctx context.Context) (string, error) {
	if r.l.opt.Backend == Systemd {
		return r.Run(ctx, "journalctl", "--no-pager", "--output=short-precise", "--boot")
	}
	return r.ReadFile("/var/log/syslog")
}

// Status is `wanfail status --json`, the fields that the lab reads.
type Status struct {
	Role string `json:"role"`
	WANs []struct {
		Name    string `json:"name"`
		Parent  string `json:"parent"`
		MAC     string `json:"mac"`
		State   string `json:"state"`
		Address string `json:"address"`
		Gateway string `json:"gateway"`
		Server  string `json:"server"`
		Lease   int    `json:"lease_seconds"`
	} `json:"wans"`
	Services []struct {
		Name    string `json:"name"`
		Backend string `json:"backend"`
		Running bool   `json:"running"`
		Pending bool   `json:"pending"` // Running is what was found before
	} `json:"services"`
}

// Status asks wanfail.
func (r *Router) Status(ctx context.Context) (s Status, err error) {
	out, err := r.Run(ctx, binaryPath, "status", "--json")
	if e := json.Unmarshal([]byte(strings.TrimSpace(out)), &s); e != nil {
		return s, errors.Join(err, fmt.Errorf("%s: decode status %q: %w", r.Name, out, e))
	}
	return s, nil
}
