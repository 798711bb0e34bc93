package keeper

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
)

// sleepyGateway does not answer from one moment until another.
type sleepyGateway struct {
	start       time.Time
	from, until time.Duration
}

func (*sleepyGateway) Announce(context.Context, string, netip.Addr, net.HardwareAddr) error {
	return errors.New("nobody asked for it")
}

func (g *sleepyGateway) ProbeGateway(ctx context.Context, _ string, _, _ netip.Addr) (time.Duration, error) {
	if at := time.Since(g.start); at >= g.from && at < g.until {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return time.Millisecond, nil
}

// A gateway is asked now and then, and often while it does not answer.
func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := &sleepyGateway{start: time.Now(), from: 3 * time.Minute, until: 4*time.Minute + 12*time.Second}
		wan := config.WAN{Name: "wan", ARPInterval: 2 * time.Minute}
		lease := &dhcp.Lease{Prefix: netip.MustParsePrefix("192.0.2.5/24"), Gateway: netip.MustParseAddr("192.0.2.1")}
		v := startAnnouncer(t.Context(), gateway, wan, lease, false, slog.New(slog.DiscardHandler))
		defer v.stop()
		type answer struct {
			after     time.Duration
			reachable bool
		}
		var got []answer
		var last time.Duration
		for range 7 {
			r := <-v.answers()
			at := time.Since(gateway.start)
			got = append(got, answer{at, r.Reachable})
			if r.Reachable {
				last = at
			}
			if age := time.Since(r.LastReply); age != at-last {
				t.Errorf("after %v the last answer is said to be %v old, want %v", at, age, at-last)
			}
		}
		silent := 4*time.Minute + probeLimit
		want := []answer{
			{0, true},
			{2 * time.Minute, true},
			{silent, false},
			{silent + asking + probeLimit, false},
			{silent + 2*(asking+probeLimit) - probeLimit, true},
			{silent + 2*(asking+probeLimit) - probeLimit + wan.ARPInterval, true},
			{silent + 2*(asking+probeLimit) - probeLimit + 2*wan.ARPInterval, true},
		}
		if !slices.Equal(got, want) {
			t.Errorf("the gateway answered\n%v, want\n%v", got, want)
		}
	})
}
