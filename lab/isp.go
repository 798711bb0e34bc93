package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"text/template"
	"time"
)

//go:embed files
var files embed.FS

// render fills a template of files.
func render(name string, data any) (string, error) {
	t, err := template.ParseFS(files, "files/"+name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", err
	}
	return b.String(), nil
}

// ISP is the machine that serves leases on the WAN and routes to the internet.
type ISP struct {
	*Node
	lease  time.Duration
	server *Process
}

// serverKind is how one DHCP server is run.
type serverKind struct {
	config, path string
	command      []string
	// files that must exist, and that Forget empties.
	state []string
}

func ispConfig(s Server) (serverKind, error) {
	switch s {
	case Dnsmasq:
		return serverKind{
			"isp/dnsmasq.conf", "/etc/isp.conf",
			[]string{"dnsmasq", "--keep-in-foreground", "--conf-file=/etc/isp.conf", "--pid-file="},
			[]string{"/var/lib/misc/isp.leases"},
		}, nil
	case Kea:
		return serverKind{
			"isp/kea.conf", "/etc/isp.json",
			[]string{"kea-dhcp4", "-c", "/etc/isp.json"},
			[]string{"/var/lib/kea/isp.leases"},
		}, nil
	case ISC:
		return serverKind{
			"isp/dhcpd.conf", "/etc/isp.conf",
			[]string{"dhcpd", "-4", "-f", "-d", "-cf", "/etc/isp.conf", "-lf", "/var/lib/dhcp/isp.leases", "--no-pid", "eth0"},
			[]string{"/var/lib/dhcp/isp.leases"},
		}, nil
	case Udhcpd:
		return serverKind{
			"isp/udhcpd.conf", "/etc/isp.conf",
			[]string{"busybox", "udhcpd", "-f", "/etc/isp.conf"},
			[]string{"/var/lib/misc/udhcpd.leases"},
		}, nil
	}
	return serverKind{}, fmt.Errorf("unknown DHCP server %q", s)
}

// StartServer starts a DHCP server and returns when it answers. What an earlier
// one of the same kind granted is remembered, see Forget.
func (i *ISP) StartServer(ctx context.Context, s Server) error {
	if i.server != nil {
		return errors.New("a DHCP server is running")
	}
	kind, err := ispConfig(s)
	if err != nil {
		return err
	}
	conf, err := render(kind.config, map[string]any{
		"Prefix": WANPrefix, "Network": WANPrefix.Addr(), "Netmask": netmask(WANPrefix),
		"PoolFirst": poolFirst, "PoolLast": poolLast, "Gateway": Gateway, "Internet": InternetAddr,
		"LeaseSeconds": int(i.lease.Seconds()),
	})
	if err != nil {
		return err
	}
	if err := i.WriteFile(kind.path, conf, 0o644); err != nil {
		return err
	}
	if s == ISC || s == Udhcpd { // they insist on a file
		for _, path := range kind.state {
			if _, err := i.ReadFile(path); errors.Is(err, os.ErrNotExist) {
				if err := i.WriteFile(path, "", 0o644); err != nil {
					return err
				}
			}
		}
	}
	if s == Kea { // its unit would make the folders of the lock and of the leases
		if _, err := i.Run(ctx, "mkdir", "-p", "/run/kea", "/var/lib/kea"); err != nil {
			return err
		}
	}
	// It outlives ctx, which is about the start only.
	p, err := i.Start(context.WithoutCancel(ctx), kind.command[0], kind.command[1:]...)
	if err != nil {
		return err
	}
	err = Eventually(ctx, "DHCP server "+string(s), func() (bool, error) {
		select {
		case <-p.Done():
			return false, fmt.Errorf("ended (%v): %s", p.Wait(), p.Output())
		default:
		}
		return i.serves()
	})
	if err != nil {
		p.Stop(0)
		return err
	}
	i.server = p
	return nil
}

// serves tells whether somebody has opened port 67.
func (i *ISP) serves() (bool, error) {
	open := false
	err := i.Net(func() error {
		// The table of the thread's namespace, not of the process's.
		b, err := os.ReadFile("/proc/thread-self/net/udp")
		open = strings.Contains(string(b), ":0043 ")
		return err
	})
	return open, err
}

// StopServer ends the DHCP server.
func (i *ISP) StopServer() {
	if i.server != nil {
		i.server.Stop(2 * time.Second)
		i.server = nil
	}
}

// ServerLog is what the running server has printed.
func (i *ISP) ServerLog() string {
	if i.server == nil {
		return ""
	}
	return i.server.Output()
}

func netmask(p netip.Prefix) string { return net.IP(net.CIDRMask(p.Bits(), 32)).String() }
