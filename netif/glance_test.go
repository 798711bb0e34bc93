package netif

import (
	"reflect"
	"testing"
)

// A glance sees what Observe sees, as far as it looks.
func TestGlance(t *testing.T) {
	b := newBench(t)
	same := func(what string) {
		t.Helper()
		want := b.observe()
		want.Addresses, want.Routes, want.Warnings, want.state = nil, nil, nil, state{}
		got, err := b.Glance(t.Context(), wan)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, Observe says %+v", what, got, want)
		}
	}
	same("nothing there")
	b.apply(lease("198.51.100.7/24"))
	same("up")
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	same("mute")
	b.isp.Do(t, func() error { return command2(b.isp, "ip", "link", "set", "isp0", "down") })
	same("no carrier")
	ip(t, "link", "set", "port0", "down")
	same("parent down")
	if _, err := b.Purge(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	ip(t, "link", "add", "link", "port0", "name", "wan", "address", shared.String(), "type", "macvlan")
	same("foreign")
	ip(t, "link", "del", "wan")
	ip(t, "link", "set", "port0", "name", "port9")
	same("no parent")
	ip(t, "link", "set", "port9", "name", "port0")
}
