package keeper

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
)

// speaker is what a voice needs of package netif.
type speaker interface {
	Announce(ctx context.Context, link string, addr netip.Addr, mac net.HardwareAddr) error
	ProbeGateway(ctx context.Context, link string, src, gateway netip.Addr) (time.Duration, error)
}

// voice announces an address and asks its gateway for a sign of life. Some
// gateways ignore gratuitous ARP and keep sending to the other router's switch
// port until somebody asks them something.
type voice struct {
	lease   *dhcp.Lease
	cancel  context.CancelFunc
	done    sync.WaitGroup
	replies chan hooks.Reach
}

const (
	// probeLimit is how long a gateway may take to answer an ARP request.
	probeLimit = time.Second
	// asking is the most between two requests to a gateway that is silent: its
	// return should show at once, in status and to keepalived's checks.
	asking = 5 * time.Second
)

// startVoice starts to speak for lease. Without announce the address was there
// all the time, and only the gateway is asked.
func startVoice(ctx context.Context, s speaker, wan config.WAN, lease *dhcp.Lease, announce bool, log *slog.Logger) *voice {
	ctx, cancel := context.WithCancel(ctx)
	v := &voice{lease: lease, cancel: cancel, replies: make(chan hooks.Reach)}
	if announce {
		v.done.Go(func() {
			if err := s.Announce(ctx, wan.Name, lease.Prefix.Addr(), wan.MAC); err != nil && ctx.Err() == nil {
				log.Warn("cannot announce the address: switches may send its traffic to the peer for some minutes", "error", err)
			}
		})
	}
	if lease.Gateway.IsValid() && wan.Nudge > 0 {
		v.done.Go(func() { v.nudge(ctx, s, wan, lease) })
	}
	return v
}

// nudge asks the gateway now and then, and reports each answer or its absence.
func (v *voice) nudge(ctx context.Context, s speaker, wan config.WAN, lease *dhcp.Lease) {
	var reach hooks.Reach
	for {
		probe, cancel := context.WithTimeout(ctx, probeLimit)
		rtt, err := s.ProbeGateway(probe, wan.Name, lease.Prefix.Addr(), lease.Gateway)
		cancel()
		reach.Reachable = err == nil
		if err == nil {
			reach.LastReply, reach.RTTMicros = time.Now(), rtt.Microseconds()
		}
		select {
		case v.replies <- reach:
		case <-ctx.Done():
			return
		}
		pause := wan.Nudge
		if !reach.Reachable {
			pause = min(pause, asking)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// heard are the gateway's signs of life.
func (v *voice) heard() <-chan hooks.Reach {
	if v == nil {
		return nil
	}
	return v.replies
}

// stop ends the voice and returns when nothing of it can speak any more.
func (v *voice) stop() {
	if v != nil {
		v.cancel()
		v.done.Wait()
	}
}
