package keeper

import (
	"context"
	"log/slog"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// publishing passes leases to the publishers of one WAN, apart from the uplink:
// a slow resolver or netifd must never delay the WAN.
type publishing struct {
	wan  config.WAN
	pubs []Publisher
	log  *slog.Logger
	next *latest[*dhcp.Lease] // nil withdraws

	failing map[string]string // by publisher, what went wrong last; belongs to run
}

// publishLimit bounds one call of one Publisher.
const publishLimit = 5 * time.Second

func newPublishing(w config.WAN, pubs []Publisher, log *slog.Logger) *publishing {
	return &publishing{wan: w, pubs: pubs, log: log, next: newLatest[*dhcp.Lease](), failing: map[string]string{}}
}

// run calls each publisher until that has worked: a resolver may not know yet of
// a link that was made a millisecond ago, and netifd may just be starting.
func (p *publishing) run(ctx context.Context) {
	var (
		lease *dhcp.Lease
		todo  []Publisher
		wait  wan.Backoff
	)
	retry := newTimer()
	for {
		select {
		case <-ctx.Done():
			return
		case lease = <-p.next.c:
			todo, wait = p.pubs, wan.Backoff{}
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
			retry.set(wait.Next(dhcp.BootTime()))
		}
	}
}

// note logs what changes about a publisher.
func (p *publishing) note(pub Publisher, err error) {
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
func call(ctx context.Context, pub Publisher, w config.WAN, l *dhcp.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	if l == nil {
		return pub.Withdraw(ctx, w)
	}
	return pub.Publish(ctx, w, l)
}
