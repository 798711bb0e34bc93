package keeper

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
)

// arpSender is what an announcer needs of package netif.
type arpSender interface {
	Announce(ctx context.Context, link string, addr netip.Addr, mac net.HardwareAddr) error
	ProbeGateway(ctx context.Context, link string, src, gateway netip.Addr) (time.Duration, error)
}

// announcer announces an address and sends ARP requests to its gateway. Some
// gateways ignore gratuitous ARP and keep sending to the other router's switch
// port until they get an ARP request.
type announcer struct {
	cancel  context.CancelFunc
	done    sync.WaitGroup
	replies chan control.Reach
}

const (
	// probeLimit is how long a gateway may take to answer an ARP request.
	probeLimit = time.Second
	// asking is the longest time between two requests to a gateway that does not
	// answer: its return should show at once, in status and in keepalived's checks.
	asking = 5 * time.Second
)

// startAnnouncer announces lease, if frames is set, and asks its gateway.
func startAnnouncer(ctx context.Context, s arpSender, wan config.WAN, lease *dhcp.Lease, frames bool, log *slog.Logger) *announcer {
	ctx, cancel := context.WithCancel(ctx)
	a := &announcer{cancel: cancel, replies: make(chan control.Reach)}
	if frames {
		a.done.Go(func() {
			if err := s.Announce(ctx, wan.Name, lease.Prefix.Addr(), wan.MAC); err != nil && ctx.Err() == nil {
				log.Warn("cannot announce the address: switches may send its traffic to the peer for some minutes", "error", err)
			}
		})
	}
	if lease.Gateway.IsValid() && wan.ARPInterval > 0 {
		a.done.Go(func() { a.probe(ctx, s, wan, lease) })
	}
	return a
}

// probe asks the gateway now and then, and reports each answer or its absence.
func (a *announcer) probe(ctx context.Context, s arpSender, wan config.WAN, lease *dhcp.Lease) {
	var reach control.Reach
	for {
		limited, cancel := context.WithTimeout(ctx, probeLimit)
		rtt, err := s.ProbeGateway(limited, wan.Name, lease.Prefix.Addr(), lease.Gateway)
		cancel()
		reach.Reachable = err == nil
		if err == nil {
			reach.LastReply, reach.RTTMicros = time.Now(), rtt.Microseconds()
		}
		select {
		case a.replies <- reach:
		case <-ctx.Done():
			return
		}
		pause := wan.ARPInterval
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

// answers are the gateway's ARP replies.
func (a *announcer) answers() <-chan control.Reach {
	if a == nil {
		return nil
	}
	return a.replies
}

// stop returns when nothing of the announcer can transmit any more.
func (a *announcer) stop() {
	if a != nil {
		a.cancel()
		a.done.Wait()
	}
}
