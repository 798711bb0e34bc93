package matrix

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// service is what a server is to do.
type service struct {
	addr        netip.Prefix // of the server, which is the gateway as well
	first, last netip.Addr   // of the pool
	lease       time.Duration
	t1, t2      time.Duration // 0, or if the server cannot: its own idea
	extra       []string      // further arguments, for dnsmasq
}

func (s service) netmask() string { return net.IP(net.CIDRMask(s.addr.Bits(), 32)).String() }

// in is the same service in another network.
func (s service) in(addr, first, last string) service {
	s.addr, s.first, s.last = netip.MustParsePrefix(addr), netip.MustParseAddr(first), netip.MustParseAddr(last)
	return s
}

// server is a kind of DHCP server.
type server struct {
	name string
	// shortest is the shortest lease that it grants.
	shortest time.Duration
	// timers: T1 and T2 can be configured.
	timers bool
	// refuses: a REBIND for an address of another network is answered with a NAK.
	// Otherwise it is not answered at all. INIT-REBOOT is refused by all.
	refuses bool
	// configure writes what the server needs into dir of the image at root and
	// returns its command line. Leases belong into files called leases*.
	configure func(t *testing.T, root, dir string, s service) (env, argv []string)
}

// kinds are all servers of the image.
var kinds = []server{
	// Less than two minutes is not to be had from dnsmasq.
	{name: "dnsmasq", shortest: 2 * time.Minute, timers: true, refuses: true, configure: dnsmasq},
	{name: "kea", shortest: time.Second, timers: true, configure: kea},
	{name: "isc", shortest: time.Second, timers: true, configure: isc},
	{name: "udhcpd", shortest: time.Second, configure: udhcpd},
	{name: "networkd", shortest: time.Second, configure: networkd},
}

func kind(name string) server {
	return kinds[slices.IndexFunc(kinds, func(s server) bool { return s.name == name })]
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// write puts a file into the image's /run, which nothing else sees.
func write(t *testing.T, root, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// touch makes an empty file unless there is one.
func touch(t *testing.T, root, path string) {
	t.Helper()
	f, err := os.OpenFile(root+path, os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

func dnsmasq(_ *testing.T, root, dir string, s service) (env, argv []string) {
	argv = []string{
		"chroot", root, "dnsmasq", "--keep-in-foreground", "--log-dhcp", "--log-facility=-", "--user=root",
		"--conf-file=/dev/null", "--pid-file=", "--port=0", "--interface=" + ispIface, "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile=" + dir + "/leases",
		fmt.Sprintf("--dhcp-range=%s,%s,%s,%s", s.first, s.last, s.netmask(), seconds(s.lease)),
		fmt.Sprintf("--dhcp-option=3,%s", s.addr.Addr()),
	}
	if s.t1 != 0 {
		argv = append(argv, "--dhcp-option=58,"+seconds(s.t1), "--dhcp-option=59,"+seconds(s.t2))
	}
	return nil, append(argv, s.extra...)
}

func kea(t *testing.T, root, dir string, s service) (env, argv []string) {
	t.Helper()
	conf := map[string]any{
		"interfaces-config":  map[string]any{"interfaces": []string{ispIface}, "dhcp-socket-type": "raw"},
		"lease-database":     map[string]any{"type": "memfile", "persist": true, "name": dir + "/leases", "lfc-interval": 0},
		"authoritative":      true,
		"valid-lifetime":     int(s.lease / time.Second),
		"min-valid-lifetime": 1,
		"subnet4": []any{map[string]any{
			"subnet":      s.addr.Masked().String(),
			"pools":       []any{map[string]any{"pool": s.first.String() + " - " + s.last.String()}},
			"option-data": []any{map[string]any{"name": "routers", "data": s.addr.Addr().String()}},
		}},
		"loggers": []any{map[string]any{
			"name": "kea-dhcp4", "severity": "INFO",
			"output_options": []any{map[string]any{"output": "stderr", "flush": true}},
		}},
	}
	if s.t1 != 0 {
		conf["renew-timer"], conf["rebind-timer"] = int(s.t1/time.Second), int(s.t2/time.Second)
	} else {
		conf["calculate-tee-times"] = true
	}
	raw, err := json.Marshal(map[string]any{"Dhcp4": conf})
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, dir+"/kea.json", string(raw))
	return []string{"KEA_LOCKFILE_DIR=none", "KEA_PIDFILE_DIR=" + dir},
		[]string{"chroot", root, "kea-dhcp4", "-c", dir + "/kea.json"}
}

func isc(t *testing.T, root, dir string, s service) (env, argv []string) {
	t.Helper()
	timers := ""
	if s.t1 != 0 {
		timers = fmt.Sprintf("option dhcp-renewal-time %s; option dhcp-rebinding-time %s;", seconds(s.t1), seconds(s.t2))
	}
	write(t, root, dir+"/dhcpd.conf", fmt.Sprintf(`authoritative;
ddns-update-style none;
ping-check false;
default-lease-time %[1]s; max-lease-time %[1]s; min-lease-time 1;
%[2]s
subnet %[3]s netmask %[4]s {
	range %[5]s %[6]s;
	option routers %[7]s;
}
`, seconds(s.lease), timers, s.addr.Masked().Addr(), s.netmask(), s.first, s.last, s.addr.Addr()))
	touch(t, root, dir+"/leases")
	return nil, []string{
		"chroot", root, "dhcpd", "-4", "-f", "-d", "--no-pid",
		"-cf", dir + "/dhcpd.conf", "-lf", dir + "/leases", ispIface,
	}
}

func udhcpd(t *testing.T, root, dir string, s service) (env, argv []string) {
	t.Helper()
	write(t, root, dir+"/udhcpd.conf", fmt.Sprintf(`interface %s
start %s
end %s
max_leases 16
lease_file %s/leases
pidfile %[4]s/udhcpd.pid
auto_time 1
min_lease 1
opt subnet %[5]s
opt router %[6]s
opt lease %[7]s
`, ispIface, s.first, s.last, dir, s.netmask(), s.addr.Addr(), seconds(s.lease)))
	touch(t, root, dir+"/leases")
	return nil, []string{"chroot", root, "busybox", "udhcpd", "-f", "-a", "0", dir + "/udhcpd.conf"}
}

// networkd is a network manager with a DHCP server in it. It wants /run for
// itself and a read-only /sys, which tells it that there is no udev to wait for.
func networkd(t *testing.T, root, dir string, s service) (env, argv []string) {
	t.Helper()
	base, offset := s.addr.Masked().Addr().As4(), s.first.As4()
	size := int(s.last.As4()[3]) - int(offset[3]) + 1
	write(t, root, dir+"/systemd/network/isp.network", fmt.Sprintf(`[Match]
Name=%s
[Network]
Address=%s
ConfigureWithoutCarrier=yes
LinkLocalAddressing=no
IPv6AcceptRA=no
DHCPServer=yes
[DHCPServer]
PoolOffset=%d
PoolSize=%d
DefaultLeaseTimeSec=%[5]s
MaxLeaseTimeSec=%[5]s
EmitRouter=yes
EmitDNS=no
EmitNTP=no
EmitTimezone=no
`, ispIface, s.addr, offset[3]-base[3], size, seconds(s.lease)))
	script := `mount --bind "$1$2" "$1/run" && mount -t proc proc "$1/proc" && mount -t sysfs -o ro sysfs "$1/sys" &&
mkdir -p "$1/run/systemd/netif/links" "$1/run/systemd/netif/leases" "$1/run/systemd/netif/lldp" &&
chroot "$1" chown -R systemd-network: /run/systemd/netif &&
exec chroot "$1" /lib/systemd/systemd-networkd`
	return []string{"SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console"},
		[]string{"unshare", "--mount", "sh", "-c", script, "networkd", root, dir}
}

// serve starts the server of the line and waits until it listens.
func (l *line) serve(s service) {
	l.t.Helper()
	if l.daemon != nil {
		l.t.Fatal("a server is running")
	}
	l.service = s
	l.address(s.addr)
	env, argv := l.kind.configure(l.t, l.root, l.dir, s)
	p := start(l.t, l.isp, env, argv...)
	l.daemon = p
	l.eventually(l.kind.name+" listens", 15*time.Second, func() bool {
		if !p.alive() {
			l.t.Fatalf("%s has ended", l.kind.name)
		}
		return l.port67()
	})
}

// halt ends the server as an administrator would.
func (l *line) halt() {
	l.daemon.stop(unix.SIGTERM)
	l.daemon = nil
	l.eventually("port 67 is closed", 5*time.Second, func() bool { return !l.port67() })
}

// forget makes the stopped server forget its leases.
func (l *line) forget() {
	l.t.Helper()
	files, err := filepath.Glob(l.root + l.dir + "/leases*")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			l.t.Fatal(err)
		}
	}
}
