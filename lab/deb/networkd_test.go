package deb

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestNetworkManagers: systemd-networkd with a file that matches every macvlan
// leaves the WAN alone, and so does NetworkManager.
func TestNetworkManagers(t *testing.T) {
	w := build(t, 60*time.Second)
	r := w.l.Router(0)
	w.install(r, older)
	w.startUdev(r)
	const elsewhere = "10.99.99.1/24"
	w.must(r.WriteFile("/etc/systemd/network/50-macvlan.network",
		"[Match]\nKind=macvlan\n\n[Network]\nLinkLocalAddressing=no\nAddress="+elsewhere+"\n", 0o644))
	w.run(r, "systemctl", "start", "systemd-networkd")
	w.configure(r)
	w.run(r, "wanfail", "primary")
	addr := w.isPrimary(r)

	// Another macvlan, after ours: when networkd is through with it, it has seen ours.
	others := func(name string) {
		w.run(r, "ip", "link", "add", name, "link", "eth3", "type", "macvlan")
		w.eventually("networkd configures "+name, func() (bool, error) {
			addrs, err := r.Addrs(name)
			return len(addrs) == 1 && addrs[0].String() == elsewhere, err
		})
	}
	alone := func(when string) {
		addrs, err := r.Addrs("wan")
		w.must(err)
		if len(addrs) != 1 || addrs[0] != addr {
			t.Errorf("%s: the WAN has %v, want %v", when, addrs, addr)
		}
		if gw, _, err := r.DefaultGateway(); err != nil || gw != lab.Gateway {
			t.Errorf("%s: default route via %v (%v)", when, gw, err)
		}
		if got := w.run(r, "networkctl", "list", "--no-legend", "wan"); !strings.HasSuffix(got, "unmanaged") {
			t.Errorf("%s: networkd says %q", when, got)
		}
	}
	others("other1")
	alone("made under networkd's eyes")
	w.run(r, "systemctl", "restart", "systemd-networkd")
	others("other2")
	alone("found by a new networkd")

	// NetworkManager shows who is configured by another, unless it is told to stay
	// away; other macvlans are none of our business.
	w.run(r, "systemctl", "start", "NetworkManager")
	w.eventually("NetworkManager knows all links", func() (bool, error) {
		got := w.run(r, "nmcli", "-t", "-f", "DEVICE,STATE", "device") + "\n"
		return strings.Contains(got, "wan:unmanaged\n") && strings.Contains(got, "other2:connected (externally)\n"), nil
	})
	alone("beside NetworkManager")
}

// startUdev starts a udev that knows no rules but those of the package: the
// devices of this computer are none of its business.
func (w *world) startUdev(r *lab.Router) {
	w.Helper()
	const all, ours = "/usr/lib/udev/rules.d", "/var/tmp/rules.d"
	w.run(r, "mkdir", ours)
	w.run(r, "cp", all+"/60-wanfail.rules", ours)
	w.run(r, "mount", "--bind", ours, all)
	w.run(r, "mount", "-o", "remount,rw", "/sys") // or networkd does without udev
	w.run(r, "systemd-run", "--property=Type=notify", "--unit=udev-of-the-test", "/usr/lib/systemd/systemd-udevd")
}
