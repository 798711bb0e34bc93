package netif

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
)

// TestMTUAcrossIPv6: below 1280 the kernel takes IPv6 off the link, and above it
// makes it anew, with everything that it sends.
func TestMTUAcrossIPv6(t *testing.T) {
	b := newBench(t)
	b.gateway()
	d := lease("198.51.100.7/24")
	peer := b.peerTap()
	for _, mtu := range []int{576, 1500, 1000, 1400} {
		d.Link.MTU = mtu
		b.apply(d)
		if o := b.observe(); o.MTU != mtu || o.Muted || len(o.Warnings) > 0 {
			t.Errorf("MTU %d: %+v", mtu, o)
		}
		if c := b.apply(d); !c.None() {
			t.Errorf("MTU %d: again %q", mtu, c.Steps)
		}
	}
	time.Sleep(noiseAfter)
	for _, f := range peer.take() {
		t.Errorf("sent: %v", f)
	}
	if v, err := os.ReadFile("/proc/sys/net/ipv6/conf/wan/disable_ipv6"); err != nil || string(v) != "1\n" {
		t.Errorf("disable_ipv6 is %q, %v", v, err)
	}
}

func TestKeepsOrigin(t *testing.T) {
	for release, want := range map[string]bool{
		"5.15.167": false, "5.10.0-28-amd64": false, "4.19": false, "5.18.0": true, "6.1.0-26": true, "": true, "generic": true,
	} {
		if got := keepsOrigin(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

// TestInfiniteLeaseWithoutOrigin: on a kernel that keeps no origin of addresses, the
// one of an infinite lease is known as ours, too, and removed with the lease.
func TestInfiniteLeaseWithoutOrigin(t *testing.T) {
	b := newBench(t)
	b.noAddrProto = true
	d := lease("198.51.100.7/24")
	d.Valid = Forever
	b.apply(d)
	if o := b.observe(); len(o.Addresses) != 1 || !o.Addresses[0].Owned {
		t.Errorf("addresses %+v", o.Addresses)
	}
	if c := b.apply(d); !c.None() {
		t.Errorf("again: %q", c.Steps)
	}
	ip(t, "addr", "add", "192.0.2.9/32", "dev", "wan") // somebody else's
	d.Addr = prefix("198.51.100.8/24")
	b.apply(d)
	if got := b.addresses(); !slices.Equal(got, []string{"192.0.2.9/32", "198.51.100.8/24"}) {
		t.Errorf("addresses %q", got)
	}
}

// TestAlternativeName: a parent may be named by it, and events tell of it.
func TestAlternativeName(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := b.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		for range events {
		}
	}()
	<-events // Resync
	ip(t, "link", "property", "add", "dev", "port0", "altname", "isp-port")
	ip(t, "link", "property", "add", "dev", "port0", "altname", "enp1")
	for e := range events {
		if e.Named("enp1") {
			if e.Name != "port0" || !e.Named("isp-port") || !e.Named("port0") || e.Named("wan") || e.Named("") {
				t.Errorf("event %+v", e)
			}
			break
		}
	}
	d := lease("198.51.100.7/24")
	d.Link.Parent = "isp-port"
	b.apply(d)
	configured := d.Link
	if orphans, err := b.Orphans(t.Context(), []Link{configured}); err != nil || len(orphans) > 0 {
		t.Errorf("orphans: %v, %v", orphans, err)
	}
	configured.Name = "other"
	if orphans, err := b.Orphans(t.Context(), []Link{configured}); err != nil || len(orphans) > 0 {
		t.Errorf("orphans by parent and MAC: %v, %v", orphans, err)
	}
}
