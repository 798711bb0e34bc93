package keeper

import (
	"context"
	"log/slog"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
)

// press hands leases to the publishers of one WAN, apart from the uplink: what
// tells the resolver or netifd must never hold up the WAN. The latest wins.
type press struct {
	wan  config.WAN
	pubs []Publisher
	log  *slog.Logger
	next chan *dhcp.Lease // holds the latest; nil withdraws
}

// pressLimit bounds one call of one Publisher.
const pressLimit = 5 * time.Second

func newPress(wan config.WAN, pubs []Publisher, log *slog.Logger) *press {
	return &press{wan: wan, pubs: pubs, log: log, next: make(chan *dhcp.Lease, 1)}
}

// publish and withdraw are called by the uplink alone.
func (p *press) publish(l *dhcp.Lease) {
	select {
	case <-p.next:
	default:
	}
	p.next <- l
}

func (p *press) withdraw() { p.publish(nil) }

func (p *press) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-p.next:
			for _, pub := range p.pubs {
				p.call(ctx, pub, l)
			}
		}
	}
}

func (p *press) call(ctx context.Context, pub Publisher, l *dhcp.Lease) {
	ctx, cancel := context.WithTimeout(ctx, pressLimit)
	defer cancel()
	var err error
	if l == nil {
		err = pub.Withdraw(ctx, p.wan)
	} else {
		err = pub.Publish(ctx, p.wan, l)
	}
	if err != nil {
		p.log.Warn("cannot tell "+pub.String(), "err", err)
	}
}
