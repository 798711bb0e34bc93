package netif

import (
	"testing"
	"time"
)

// TestLifetimeWhileItRuns counts a lease and the kernel's whole seconds down
// side by side: nothing is to be written until a renewal, and then it is.
func TestLifetimeWhileItRuns(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 3 * time.Second, 4 * time.Second, 10 * time.Second, 60 * time.Second, time.Hour} {
		granted := ttl - 7*time.Millisecond // the round trip
		kernel := seconds(granted)
		if time.Duration(kernel)*time.Second < granted {
			t.Errorf("lease of %v: the kernel would end it first, after %d s", ttl, kernel)
		}
		for d := time.Duration(0); d < ttl/2; d += 50 * time.Millisecond {
			if have, want := kernel-uint32(d/time.Second), seconds(granted-d); !sameLifetime(have, want) {
				t.Errorf("lease of %v: after %v the kernel has %d s, and %d s would be written", ttl, d, have, want)
			}
		}
		if have := kernel - uint32(ttl/2/time.Second); sameLifetime(have, kernel) {
			t.Errorf("lease of %v: its renewal would not be written: the kernel has %d s, wanted are %d s", ttl, have, kernel)
		}
	}
}
