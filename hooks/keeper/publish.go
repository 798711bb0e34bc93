package keeper

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/services/netifd"
)

// Publisher passes a lease to another part of the platform. Publish may be called
// again with the same lease or another; Withdraw without a Publish before. What
// fails is tried again until a newer lease is to be published.
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
func (n Netifd) Publish(ctx context.Context, w config.WAN, l *dhcp.Lease) error {
	told := netifd.Lease{Addr: l.Prefix, Broadcast: l.Broadcast}
	for _, r := range wan.Plan(w, l, dhcp.BootTime()).Routes {
		told.Routes = append(told.Routes, netifd.Route(r))
	}
	if w.PeerDNS {
		told.DNS, told.Search = l.DNS, domains(l)
	}
	return known(n.Notifier.Up(ctx, w.Name, told))
}

// Withdraw implements Publisher.
func (n Netifd) Withdraw(ctx context.Context, wan config.WAN) error {
	return known(n.Notifier.Down(ctx, wan.Name))
}

// Resolver publishes the lease's name servers to whatever resolves names on this
// machine. It is for platforms without netifd, which does that itself.
type Resolver struct{ Names names }

// names is what is needed of package resolver.
type names interface {
	Set(ctx context.Context, link string, servers []netip.Addr, search []string) (way string, err error)
	Revert(ctx context.Context, link string) error
}

// String implements Publisher.
func (Resolver) String() string { return "the resolver" }

// Publish implements Publisher. Without peerdns it removes what an earlier
// configuration may have left.
func (r Resolver) Publish(ctx context.Context, wan config.WAN, l *dhcp.Lease) error {
	if !wan.PeerDNS {
		return r.Names.Revert(ctx, wan.Name)
	}
	_, err := r.Names.Set(ctx, wan.Name, l.DNS, domains(l))
	return err
}

// Withdraw implements Publisher.
func (r Resolver) Withdraw(ctx context.Context, wan config.WAN) error {
	return r.Names.Revert(ctx, wan.Name)
}

// known ignores that netifd does not know the WAN: it does only with an interface
// of wanfail's protocol in its configuration.
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
	for _, d := range l.Search {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}
