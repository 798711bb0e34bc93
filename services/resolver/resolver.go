// Package resolver tells the platform which name servers a lease brought, the way
// the platform wants it: systemd-resolved over D-Bus where it runs, else the
// resolvconf program, else a resolv.conf file in the run directory, for dnsmasq's
// resolv-file.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

// Resolver hands name servers over and takes them back. It is safe for concurrent
// use.
type Resolver struct {
	log      *slog.Logger
	backends []backend // in the order of preference; the last is always usable

	mu sync.Mutex
}

// backend is one way. set replaces what was set for the link before; revert of
// what is not set is no error.
type backend interface {
	String() string
	usable(ctx context.Context) bool
	set(ctx context.Context, link string, servers []netip.Addr, search []string) error
	revert(ctx context.Context, link string) error
}

// New returns a resolver that writes resolvConf where the platform has no better
// way. Which way is taken is decided at each Set, since systemd-resolved may start
// after us.
func New(resolvConf File, log *slog.Logger) *Resolver {
	program := resolvconf{dirs: []string{"/sbin", "/usr/sbin", "/usr/bin"}}
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() { // sd_booted(3)
		program.unit = "/usr/bin/systemd-run"
	}
	return &Resolver{log: log, backends: append(systemdBackends(), program, file{resolvConf})}
}

// Set makes these the name servers and search domains of the link, in place of
// those that were set before; with neither it is Revert. To set the same again
// changes nothing. It returns the way that was taken: "systemd-resolved",
// "resolvconf" or the file.
//
// Servers and domains came from the wire. They are checked again here, and one
// that is not fit is an error, before anything has been changed.
func (r *Resolver) Set(ctx context.Context, link string, servers []netip.Addr, search []string) (way string, err error) {
	if err := check(link, servers, search); err != nil {
		return "", err
	}
	if len(servers) == 0 && len(search) == 0 {
		return "", r.Revert(ctx, link)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, b := range r.backends {
		if !b.usable(ctx) {
			continue
		}
		if err := b.set(ctx, link, slices.Clone(servers), slices.Clone(search)); err != nil {
			return "", fmt.Errorf("set name servers of %s through %s: %w", link, b, err)
		}
		// What a less preferred way was told before this one appeared is out of date.
		if err := r.revert(ctx, link, r.backends[i+1:]); err != nil {
			r.log.Warn("name servers of an earlier time are still set", "link", link, "error", err)
		}
		return b.String(), nil
	}
	return "", errors.New("no way to set name servers")
}

// Revert takes the link's name servers back, whichever way they were set, also by
// a process before this one. The link may be gone.
func (r *Resolver) Revert(ctx context.Context, link string) error {
	if err := checkLink(link); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revert(ctx, link, r.backends)
}

func (r *Resolver) revert(ctx context.Context, link string, backends []backend) error {
	var all []error
	for _, b := range backends {
		if !b.usable(ctx) {
			continue
		}
		if err := b.revert(ctx, link); err != nil {
			all = append(all, fmt.Errorf("take back name servers of %s through %s: %w", link, b, err))
		}
	}
	return errors.Join(all...)
}

// Far above what a lease holds (option 6 has at most 63 addresses).
const (
	maxServers = 64
	maxSearch  = 64
)

func check(link string, servers []netip.Addr, search []string) error {
	if err := checkLink(link); err != nil {
		return err
	}
	if len(servers) > maxServers || len(search) > maxSearch {
		return fmt.Errorf("%d name servers and %d search domains are too many", len(servers), len(search))
	}
	for _, s := range servers {
		if !s.IsValid() || s.IsUnspecified() || s.IsMulticast() || s.Zone() != "" || s == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return fmt.Errorf("%v cannot be a name server", s)
		}
	}
	for _, d := range search {
		if err := checkDomain(d); err != nil {
			return err
		}
	}
	return nil
}

// checkLink: what Linux takes for an interface, less what needs quoting anywhere.
func checkLink(link string) error {
	if link == "" || len(link) > 15 || strings.Trim(link, letters+digits+"_-.") != "" || !strings.ContainsAny(link[:1], letters+digits) {
		return fmt.Errorf("%q cannot be a link's name", link)
	}
	return nil
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// checkDomain takes names of letters, digits, hyphens and underscores (RFC 1123
// section 2.1, RFC 8552), at most 253 bytes without the final dot.
func checkDomain(d string) error {
	name := strings.TrimSuffix(d, ".")
	bad := fmt.Errorf("%.80q cannot be a search domain", d)
	if name == "" || len(name) > 253 {
		return bad
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, letters+digits+"-_") != "" {
			return bad
		}
	}
	return nil
}

// text is what resolv.conf(5) says.
func text(servers []netip.Addr, search []string) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s.Unmap())
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	return b.String()
}
