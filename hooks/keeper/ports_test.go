package keeper_test

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// A backup has its port up, which keepalived tracks, although nothing else sets it
// up at boot. A person may set it down.
func TestParentIsUpWhileBackup(t *testing.T) {
	w := newLine(t)
	parent := func() netlink.Link {
		t.Helper()
		l, err := netlink.LinkByName(port)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	up := func() bool {
		l, err := netlink.LinkByName(port)
		return err == nil && l.Attrs().RawFlags&1 != 0 // IFF_UP
	}
	if err := netlink.LinkSetDown(parent()); err != nil {
		t.Fatal(err)
	}
	w.keeper()
	w.eventually("the parent is up", 5*time.Second, up)
	if r := w.status(); r.WANs[0].State != "standby" {
		t.Errorf("state %s", r.WANs[0].State)
	}

	if err := netlink.LinkSetDown(parent()); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(parent()); err != nil { // the driver goes, and comes back
		t.Fatal(err)
	}
	// It is created down, and its other end stays so.
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "isp0", PeerNamespace: netlink.NsFd(w.isp.FD())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(parent()) })
	w.eventually("another parent is up", 5*time.Second, up)

	if err := netlink.LinkSetDown(parent()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if up() {
			t.Fatal("a parent that was set down by hand is up again")
		}
	}
}
