package keeper

import (
	"context"
	"errors"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/netifd"
)

// Publisher tells another part of the platform about a lease. Publish may be
// called again with the same lease or another; Withdraw without a Publish before.
type Publisher interface {
	Publish(ctx context.Context, wan config.WAN, lease *dhcp.Lease) error
	Withdraw(ctx context.Context, wan config.WAN) error
	String() string
}

// Netifd publishes to OpenWrt's network daemon.
type Netifd struct{ Notifier *netifd.Notifier }

// String implements Publisher.
func (Netifd) String() string { return "netifd" }

// Publish implements Publisher. netifd enters the very routes that the kernel
// has from us already.
func (n Netifd) Publish(ctx context.Context, wan config.WAN, l *dhcp.Lease) error {
	told := netifd.Lease{Addr: l.Prefix, Broadcast: l.Broadcast}
	for _, r := range plan(wan, l).Routes {
		told.Routes = append(told.Routes, netifd.Route(r))
	}
	if wan.PeerDNS {
		told.DNS, told.Search = l.DNS, domains(l)
	}
	return known(n.Notifier.Up(ctx, wan.Name, told))
}

// Withdraw implements Publisher.
func (n Netifd) Withdraw(ctx context.Context, wan config.WAN) error {
	return known(n.Notifier.Down(ctx, wan.Name))
}

// known forgives netifd that it does not know the WAN: without an interface of
// ours in its configuration it need not.
func known(err error) error {
	if errors.Is(err, netifd.ErrNoInterface) {
		return nil
	}
	return err
}

// domains are the search domains of a lease, its own first.
func domains(l *dhcp.Lease) (all []string) {
	if l.Domain != "" {
		all = append(all, l.Domain)
	}
	return append(all, l.Search...)
}
