package netif

import (
	"slices"
	"testing"
)

// TestUnusableRoutes: what the kernel does not take is told, and the others are
// there, whatever their order.
func TestUnusableRoutes(t *testing.T) {
	b := newBench(t)
	b.withLAN()
	d := lease("198.51.100.7/24")
	bad := []Route{
		{Dst: prefix("10.1.0.0/16"), Gateway: addr("198.51.100.255")}, // the broadcast address
		{Dst: prefix("10.3.0.0/16"), Gateway: addr("192.0.2.1")},      // the router's own on the LAN
	}
	d.Routes = slices.Concat(bad, d.Routes, []Route{{Dst: prefix("10.4.0.0/16"), Gateway: gatewayIP}})
	c := b.apply(d)
	var refused []Route
	for _, u := range c.Unusable {
		u.Route.OnLink = false
		refused = append(refused, u.Route)
		if u.Err == nil {
			t.Errorf("%v: no reason", u.Route)
		}
	}
	if !slices.Equal(refused, bad) || !c.Addr || !c.Routes {
		t.Errorf("changes %+v", c)
	}
	want := []string{"0.0.0.0/0 via 198.51.100.1", "10.4.0.0/16 via 198.51.100.1"}
	if got := b.routeStrings(); !slices.Equal(got, want) {
		t.Errorf("routes %q, want %q", got, want)
	}
	if c := b.apply(d); !c.None() || len(c.Unusable) != len(bad) {
		t.Errorf("again: %+v", c)
	}
	// The default route itself.
	d.Routes[2].Gateway = addr("198.51.100.255")
	if c := b.apply(d); len(c.Unusable) != len(bad)+1 || c.Unusable[0].Route.Dst.Bits() != 0 {
		t.Errorf("a default route by the broadcast address: %+v", c)
	}
	if got := b.routeStrings(); !slices.Equal(got, want[1:]) {
		t.Errorf("routes %q, want %q", got, want[1:])
	}
}
