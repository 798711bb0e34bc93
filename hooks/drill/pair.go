package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

// Pair is how a drill moves the real keepalived, and what it watches of the two
// routers. It implements Router.
type Pair struct {
	log     *slog.Logger
	tracked *Tracked
	lowered atomic.Bool
	reports chan control.Report
	sights  chan Sight
	tasks   sync.WaitGroup
}

// NewPair is for a drill through these files.
func NewPair(log *slog.Logger, t *Tracked) *Pair {
	return &Pair{log: log, tracked: t, reports: make(chan control.Report, 16), sights: make(chan Sight, 16)}
}

// Follow receives the keeper's reports, as follow passes them on until it returns
// or ctx ends.
func (p *Pair) Follow(ctx context.Context, follow func(send func(control.Report))) {
	p.tasks.Go(func() {
		defer close(p.reports)
		follow(func(r control.Report) {
			select {
			case p.reports <- r:
			case <-ctx.Done():
			}
		})
	})
}

// Close waits for what Watch and Follow have begun, whose context has ended.
func (p *Pair) Close() { p.tasks.Wait() }

// Lower implements Router.
func (p *Pair) Lower() error {
	p.log.Debug("drill: the priority is lowered", "track_file", p.names())
	p.lowered.Store(true)
	return p.tracked.Write(Lowered)
}

// Restore implements Router.
func (p *Pair) Restore() error {
	p.lowered.Store(false)
	if err := p.tracked.Write(0); err != nil {
		err = fmt.Errorf("%w; by hand, as soon as it can be written: %s", err, p.byHand())
		p.log.Error("drill: the priority is not put back", "error", err)
		return err
	}
	p.log.Debug("drill: the priority is put back", "track_file", p.names())
	return nil
}

func (p *Pair) names() string { return strings.Join(p.tracked.Names(), " ") }

func (p *Pair) byHand() string {
	var all []string
	for _, name := range p.tracked.Names() {
		all = append(all, "echo 0 >"+name)
	}
	return strings.Join(all, "; ")
}

// Reports implements Router.
func (p *Pair) Reports() <-chan control.Report { return p.reports }

// Sights implements Router.
func (p *Pair) Sights() <-chan Sight { return p.sights }

// Watchable are the virtual addresses to watch: of each instance that is master
// here the first that can be asked for.
func Watchable(instances []*keepalived.Instance, own keepalived.Addresses) (all []keepalived.VIP, err error) {
	some, master := false, false
	for _, i := range instances {
		here := false
		for _, a := range i.Virtual() {
			some = true
			here = here || own.Have(a)
		}
		if !here {
			continue
		}
		master = true
		if vips := i.Askable(own); len(vips) > 0 {
			all = append(all, vips[0])
		}
	}
	if some && !master {
		return nil, errors.New("this router is primary, but has none of the virtual addresses: keepalived is not master, and a drill would move nothing")
	}
	return all, nil
}
