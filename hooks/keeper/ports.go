package keeper

import (
	"context"
	"log/slog"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/netif"
)

// ports sets the parents of the WANs up, whatever the role is, once each time they
// appear: at boot, where nothing else may do that, and when a driver has been
// reloaded. keepalived stays in FAULT for as long as a device that it tracks is
// down.
type ports struct {
	wans    []config.WAN
	network interface {
		RaiseParent(ctx context.Context, l netif.Link, known int) (index int, raised bool, err error)
	}
	log   *slog.Logger
	wake  signal
	known map[string]int // index by parent; belongs to run
}

func newPorts(n network, wans []config.WAN, log *slog.Logger) *ports {
	return &ports{wans: wans, network: n, log: log, wake: newSignal(), known: map[string]int{}}
}

// look asks for a look at the kernel, where a parent may have appeared.
func (p *ports) look() { p.wake.raise() }

func (p *ports) run(ctx context.Context) {
	for {
		for _, w := range p.wans {
			index, raised, err := p.network.RaiseParent(ctx, wan.Link(w), p.known[w.Parent])
			switch {
			case err != nil && ctx.Err() == nil:
				p.log.Warn("cannot set the parent up", "wan", w.Name, "parent", w.Parent, "error", err)
			case raised:
				p.log.Debug("parent set up: nothing else had done that", "wan", w.Name, "parent", w.Parent)
			}
			if err == nil {
				p.known[w.Parent] = index
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
	}
}
