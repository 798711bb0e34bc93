package e2e

import (
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/lab"
)

// role has a person say what the router is, and waits for the command.
func (w *world) role(r *lab.Router, role string) {
	w.Helper()
	if _, err := r.Run(w.ctx, "wanfail", role); err != nil {
		w.Fatal(err)
	}
}

// isPrimary checks everything that makes a primary, and returns its address.
func (w *world) isPrimary(r *lab.Router) (addr netip.Prefix) {
	w.Helper()
	w.eventually(r.Name+" has a WAN", func() (ok bool, err error) {
		addr, ok, err = r.HasWAN()
		return ok, err
	})
	link, err := r.Link("wan")
	w.must(err)
	if link == nil {
		w.Fatalf("%s has an address and no WAN", r.Name)
	}
	if link.Type() != "macvlan" || link.Attrs().HardwareAddr.String() != lab.SharedMAC().String() {
		w.Errorf("%s: the WAN is a %s with %s", r.Name, link.Type(), link.Attrs().HardwareAddr)
	}
	if v, ok := link.(*netlink.Macvlan); ok && v.Mode != netlink.MACVLAN_MODE_BRIDGE {
		w.Errorf("%s: the macvlan's mode is %d", r.Name, v.Mode)
	}
	w.must(r.WaitServices(w.ctx, true))
	if _, err := r.Run(w.ctx, "ping", "-c1", "-W2", lab.InternetAddr.String()); err != nil {
		w.Errorf("%s cannot reach the internet: %v", r.Name, err)
	}
	s := w.status(r, "primary")
	if len(s.WANs) != 1 {
		w.Fatalf("%s: status knows %d WANs", r.Name, len(s.WANs))
	}
	wan := s.WANs[0]
	if wan.Name != "wan" || wan.Parent != "eth2" || !strings.EqualFold(wan.MAC, lab.SharedMAC().String()) {
		w.Errorf("%s: status says %s on %s with %s", r.Name, wan.Name, wan.Parent, wan.MAC)
	}
	if !strings.HasPrefix(wan.Address, addr.Addr().String()) || wan.Gateway != lab.Gateway.String() {
		w.Errorf("%s: status says address %q, gateway %q", r.Name, wan.Address, wan.Gateway)
	}
	if max := int(w.l.Options().Lease.Seconds()); wan.Lease <= 0 || wan.Lease > max {
		w.Errorf("%s: status says %d s are left of a lease of %d s", r.Name, wan.Lease, max)
	}
	w.statusOfServices(r, s, true)
	return addr
}

// isBackup checks that nothing is left of a primary.
func (w *world) isBackup(r *lab.Router) {
	w.Helper()
	w.eventually(r.Name+" has no WAN left", func() (bool, error) {
		link, err := r.Link("wan")
		return link == nil, err
	})
	if gw, iface, err := r.DefaultGateway(); err != nil || gw.IsValid() {
		w.Errorf("%s: default route via %s on %s (%v)", r.Name, gw, iface, err)
	}
	w.must(r.WaitServices(w.ctx, false))
	w.statusOfServices(r, w.status(r, "backup"), false)
}

// status waits until wanfail says that it has the role.
func (w *world) status(r *lab.Router, role string) (s lab.Status) {
	w.Helper()
	w.eventually(r.Name+" says that it is "+role, func() (ok bool, err error) {
		s, err = r.Status(w.ctx)
		return s.Role == role, err
	})
	return s
}

func (w *world) statusOfServices(r *lab.Router, s lab.Status, running bool) {
	w.Helper()
	want := w.l.Options()
	if len(s.Services) != len(want.Services) {
		w.Errorf("%s: status knows %d services, want %v", r.Name, len(s.Services), want.Services)
	}
	for _, service := range s.Services {
		if service.Running != running || service.Backend != string(want.Backend) {
			w.Errorf("%s: status says %+v, want running %v on %s", r.Name, service, running, want.Backend)
		}
	}
}

// servicePIDs of the main processes, as one string.
func (w *world) servicePIDs(r *lab.Router) string {
	w.Helper()
	out, err := r.Run(w.ctx, "pidof", w.l.Options().Services...)
	w.must(err)
	return strings.TrimSpace(out)
}

// noRelease: the ISP was never told that the lease is free.
func (w *world) noRelease() {
	w.Helper()
	if e, ok := w.tl.First(time.Time{}, func(e lab.Event) bool { return e.Kind == lab.KindDHCP && e.Subject == "RELEASE" }); ok {
		w.Errorf("%s sent a DHCPRELEASE", e.Node)
	}
}

func (w *world) logReport(r *lab.Report) {
	push, echo := r.Load.Lost()
	w.Logf("%s to %s: detection %v, hook to default route %v, old master silent after %v, outage %v (%d probes), "+
		"lost %d pushed and %d echoed of %d sessions, longest gaps %v to %v",
		r.From, r.To, ms(r.Detection), ms(r.Usable), ms(r.Silence), ms(r.Outage.Duration()), r.Outage.Lost,
		push, echo, len(r.Load.Sessions), ms(r.Load.Min), ms(r.Load.Max))
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
