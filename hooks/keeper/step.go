package keeper

import (
	"context"
	"slices"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/services"
)

// stepped lets what the keeper uses tell of its steps.
func (o Options) stepped() Options {
	o.Services = steppedServices{o.Services, o.Step}
	o.Publishers = slices.Clone(o.Publishers)
	for i, p := range o.Publishers {
		o.Publishers[i] = steppedPublisher{p, o.Step}
	}
	return o
}

// steppedServices tells of each start and stop.
type steppedServices struct {
	services.Manager
	step func(string)
}

func (s steppedServices) Start(ctx context.Context, name string) error {
	s.step("start " + name)
	err := s.Manager.Start(ctx, name)
	s.step("started " + name)
	return err
}

func (s steppedServices) Stop(ctx context.Context, name string) error {
	s.step("stop " + name)
	err := s.Manager.Stop(ctx, name)
	s.step("stopped " + name)
	return err
}

// steppedPublisher tells of each call of a Publisher.
type steppedPublisher struct {
	Publisher
	step func(string)
}

func (p steppedPublisher) Publish(ctx context.Context, wan config.WAN, l *dhcp.Lease) error {
	p.step("publish to " + p.String())
	return p.Publisher.Publish(ctx, wan, l)
}

func (p steppedPublisher) Withdraw(ctx context.Context, wan config.WAN) error {
	p.step("withdraw from " + p.String())
	return p.Publisher.Withdraw(ctx, wan)
}
