package deb

import (
	"strconv"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestConntrackdAfterBoot: conntrackd runs after a boot at which the link between
// the routers has no carrier, or gets its address much later than Debian's unit
// waits for it, and does not hold up the rest of the boot.
func TestConntrackdAfterBoot(t *testing.T) {
	w := buildBare(t, 150*time.Second)
	r := w.l.Router(0)
	w.asBought(r)
	r.BootsWithoutCable(r.Sync())
	w.reboots(r, w.typed(r, "docs/debian.md", "Install", "on a router with systemd-networkd")...)
	if up := w.bootTook(r); up > 30*time.Second {
		t.Errorf("a port without carrier made the boot %v long", up)
	}
	w.replicates(r, "without carrier, with the network files of the examples")

	// An administrator's own file: the address comes with the carrier.
	w.must(r.WriteFile("/etc/systemd/network/20-eth3.network",
		"[Match]\nName=eth3\n[Link]\nRequiredForOnline=no\n[Network]\nAddress=10.99.0.1/24\n", 0o644))
	w.must(r.PowerOff(w.ctx))
	w.must(r.Boot(w.ctx))
	// Without the package's drop-in it is given up at the fifth.
	w.eventually("systemd tries conntrackd again and again", func() (bool, error) {
		n, err := strconv.Atoi(w.run(r, "systemctl", "show", "--property=NRestarts", "--value", "conntrackd"))
		return n >= 6, err
	})
	w.must(w.l.Plug(r.Sync()))
	w.replicates(r, "with systemd-networkd, once there is a carrier")

	// ifupdown sets the address, carrier or not.
	w.run(r, "systemctl", "disable", "systemd-networkd")
	w.run(r, "systemctl", "enable", "networking")
	for _, text := range w.typed(r, "docs/debian.md", "Install", "on a router with ifupdown") {
		if where := "# on a router with ifupdown"; len(text) > len(where) && text[:len(where)] == where {
			w.types(r, "lan=192.168.10.2 link=10.99.0.1", text)
		}
	}
	w.must(r.PowerOff(w.ctx))
	w.must(r.Boot(w.ctx))
	w.replicates(r, "with ifupdown, without carrier")
}

// replicates waits until conntrackd answers.
func (w *world) replicates(r *lab.Router, when string) {
	w.Helper()
	w.eventually("conntrackd answers "+when, func() (bool, error) {
		_, err := r.Run(w.ctx, "conntrackd", "-s")
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return r.Running(w.ctx, "conntrackd")
	})
}

// bootTook is the time from the start of systemd until keepalived was started.
func (w *world) bootTook(r *lab.Router) time.Duration {
	w.Helper()
	at := func(unit, property string) time.Duration {
		us, err := strconv.ParseInt(w.run(r, "sh", "-c", "systemctl show --property="+property+" --value "+unit), 10, 64)
		w.must(err)
		return time.Duration(us) * time.Microsecond
	}
	return at("keepalived", "ActiveEnterTimestampMonotonic") - at("", "UserspaceTimestampMonotonic")
}
