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

	failing map[string]string // by publisher, what went wrong last; belongs to run
}

// pressLimit bounds one call of one Publisher.
const pressLimit = 5 * time.Second

func newPress(wan config.WAN, pubs []Publisher, log *slog.Logger) *press {
	return &press{wan: wan, pubs: pubs, log: log, next: make(chan *dhcp.Lease, 1), failing: map[string]string{}}
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

// run tells each publisher until it has listened: a resolver may not know yet of
// a link that was made a millisecond ago, and netifd may just be starting.
func (p *press) run(ctx context.Context) {
	var (
		lease *dhcp.Lease
		todo  []Publisher
		wait  backoff
	)
	retry := newTimer()
	for {
		select {
		case <-ctx.Done():
			return
		case lease = <-p.next:
			todo, wait = p.pubs, backoff{}
		case <-retry.C:
		}
		retry.stop()
		var left []Publisher
		for _, pub := range todo {
			err := call(ctx, pub, p.wan, lease)
			if ctx.Err() != nil {
				return
			}
			if p.note(pub, err); err != nil {
				left = append(left, pub)
			}
		}
		if todo = left; len(todo) > 0 {
			retry.set(wait.next())
		}
	}
}

// note logs what changes about a publisher.
func (p *press) note(pub Publisher, err error) {
	was, failed := p.failing[pub.String()]
	switch {
	case err != nil && err.Error() != was:
		p.log.Warn("cannot tell "+pub.String()+", trying on", "error", err)
		p.failing[pub.String()] = err.Error()
	case err == nil && failed:
		p.log.Debug("has told " + pub.String())
		delete(p.failing, pub.String())
	}
}

// call publishes a lease, or withdraws without one.
func call(ctx context.Context, pub Publisher, wan config.WAN, l *dhcp.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, pressLimit)
	defer cancel()
	if l == nil {
		return pub.Withdraw(ctx, wan)
	}
	return pub.Publish(ctx, wan, l)
}
