package netif

import (
	"net/netip"
	"strings"
	"testing"
)

// What is taken for a multicast group can be printed as one.
func FuzzIGMP(f *testing.F) {
	f.Add("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n2\teth0      :     2      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n", "eth0")
	f.Add("\t\n2\teth0:\n\tx\n", "eth0")
	f.Fuzz(func(t *testing.T, text, device string) {
		groups, err := parseIGMP(strings.NewReader(text), device)
		if err != nil {
			return
		}
		for _, g := range groups {
			if _, err := netip.ParseAddr(g); err != nil {
				t.Fatal(err)
			}
		}
	})
}
