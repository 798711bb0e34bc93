package netif

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestManyWANs drives 64 WANs from as many goroutines, as the keeper does.
func TestManyWANs(t *testing.T) {
	b := newBench(t)
	b.Manager.step = func(string) {}
	const n = 64
	wans := make([]Desired, n)
	for i := range wans {
		wans[i] = lease(fmt.Sprintf("198.51.100.%d/24", 10+i))
		wans[i].Link = Link{Name: fmt.Sprintf("wan%d", i), Parent: "port0", MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}}
		wans[i].Routes[0].Metric = i
		wans[i].Routes = append(wans[i].Routes, Route{Dst: netip.PrefixFrom(addr(fmt.Sprintf("10.0.%d.0", i)), 24), Gateway: gatewayIP})
	}
	all := func(what string, do func(Desired) error) time.Duration {
		t.Helper()
		start := time.Now()
		var wg sync.WaitGroup
		for _, d := range wans {
			wg.Go(func() {
				if err := do(d); err != nil {
					t.Errorf("%s %s: %v", what, d.Link.Name, err)
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		t.Logf("%s: %v", what, took)
		return took
	}
	apply := func(d Desired) error {
		_, err := b.Apply(t.Context(), d)
		return err
	}
	unchanged := func(d Desired) error {
		c, err := b.Apply(t.Context(), d)
		if err == nil && !c.None() {
			err = fmt.Errorf("changed %q", c.Steps)
		}
		return err
	}
	mute := func(d Desired) error { return b.Mute(t.Context(), d.Link) }
	purge := func(d Desired) error {
		deleted, err := b.Purge(t.Context(), d.Link)
		if err == nil && !deleted {
			err = fmt.Errorf("nothing deleted")
		}
		return err
	}
	all("apply", apply)
	all("apply again", unchanged)
	all("mute", mute)
	all("un-mute", apply)
	all("apply again", unchanged)
	all("mute", mute)
	all("purge", purge)
	if left, err := b.Orphans(t.Context(), nil); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestPurgeHoldsUpNobody: a link of one WAN is deleted while another is muted.
func TestPurgeHoldsUpNobody(t *testing.T) {
	b := newBench(t)
	b.Manager.step = func(string) {}
	other := Link{Name: "wan2", Parent: "port0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	best := time.Hour
	for range 10 {
		b.apply(Desired{Link: wan})
		b.apply(Desired{Link: other})
		deleting, done := make(chan struct{}), make(chan error, 1)
		b.Manager.step = func(s string) {
			if s == "delete link" {
				close(deleting)
			}
		}
		go func() {
			_, err := b.Purge(t.Context(), other)
			done <- err
		}()
		<-deleting
		time.Sleep(time.Millisecond) // until it waits inside the kernel
		start := time.Now()
		if err := b.Mute(t.Context(), wan); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("deleted before the mute was done, in %v", took)
		default:
			best = min(best, took)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	b.Manager.step = func(string) {}
	t.Logf("mute during a purge: %v", best)
	if best > 5*time.Millisecond && best < time.Hour {
		t.Errorf("Mute waited %v for the purge of another WAN", best)
	}
}
