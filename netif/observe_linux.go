package netif

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Observe reports what the kernel holds of a WAN and its parent, and warns of
// what disturbs it. It changes nothing and fails only if the kernel cannot be
// asked: whatever is missing is simply reported as missing.
func (m *Manager) Observe(_ context.Context, want Link) (Observed, error) {
	if err := want.validate(); err != nil {
		return Observed{}, err
	}
	held, err := m.read(want)
	if err != nil {
		return Observed{}, err
	}
	var o Observed
	o.fill(held, want, m.owner)
	o.Loose = o.Muted && !m.locked(&held.link)
	if !o.ParentExists {
		o.warn("parent %s does not exist", want.Parent)
	} else if err := m.observeParent(&o, want, &held.parent); err != nil {
		return Observed{}, err
	}
	if o.Exists {
		m.observeLink(&o, &held.link)
	}
	return o, nil
}

func (o *Observed) warn(format string, args ...any) {
	o.Warnings = append(o.Warnings, fmt.Sprintf(format, args...))
}

func (m *Manager) observeLink(o *Observed, l *link) {
	if o.Parent == "" && l.parent != 0 {
		if p, err := m.nl.getLinkIndex(l.parent); err == nil {
			o.Parent = p.name
		}
	}
	switch {
	case !o.Owned:
		o.Warnings = append(o.Warnings, m.owner.foreign(l, "WAN "+l.name).Error())
	case !l.ipv6.silent():
		o.warn("%s may send IPv6: it was switched on from outside; sysctl -w net.ipv6.conf.%s.disable_ipv6=1, and find out what did that", l.name, strings.ReplaceAll(l.name, ".", "/"))
	}
}

func (m *Manager) observeParent(o *Observed, want Link, p *link) error {
	switch {
	case !p.up():
		o.warn("parent %[1]s is down, and a keepalived that tracks it stays in FAULT: `ip link set dev %[1]s up`, "+
			"and have each boot do that (`auto %[1]s` and `iface %[1]s inet manual` for ifupdown)", p.name)
	case !p.carrier():
		o.warn("parent %s has no carrier: is the cable in?", p.name)
	}
	if p.master != 0 {
		if master, err := m.nl.getLinkIndex(p.master); err == nil {
			o.warn("parent %s is a port of %s; use that as the parent, or take the port out", p.name, master.name)
		}
	}
	if want.MTU > p.mtu {
		o.warn("MTU %d is more than the %d of parent %s, which is used; raise the parent's", want.MTU, p.mtu, p.name)
	}
	twins, err := m.nl.findTwins(want.Name, p, want.MAC)
	if err != nil {
		return err
	}
	for _, t := range twins {
		o.warn("MAC %s is that of %s, too; give that another one", want.MAC, t.describe())
	}
	// What the parent says by itself goes out with a MAC of its own, which an
	// ISP that counts MACs may hold against the line.
	addrs, err := m.nl.listAddrs(p.index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		o.warn("parent %s has the address %s and answers for it with its own MAC; leave the parent without configuration", p.name, a.prefix)
	}
	if p.ipv6.present && !p.ipv6.disabled {
		o.warn("parent %s speaks IPv6 with its own MAC; sysctl -w net.ipv6.conf.%s.disable_ipv6=1", p.name, strings.ReplaceAll(p.name, ".", "/"))
	}
	groups, err := multicastGroups(p.name)
	if err != nil {
		return err
	}
	if len(groups) > 0 {
		o.warn("programs joined multicast groups on parent %s, which is reported with its own MAC: %s; keep them off it", p.name, strings.Join(groups, ", "))
	}
	return nil
}

// multicastGroups lists the IPv4 groups joined on a device other than 224.0.0.1,
// which is never reported.
func multicastGroups(device string) ([]string, error) {
	f, err := os.Open("/proc/thread-self/net/igmp")
	if errors.Is(err, os.ErrNotExist) { // a kernel without multicast
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read multicast groups: %w", err)
	}
	defer f.Close()
	return parseIGMP(f, device)
}

// parseIGMP reads /proc/net/igmp: a line for each device ("2\teth0      :     1
// V3"), followed by an indented one for each group, whose first field is the
// address as a number of the host's byte order in hexadecimal.
func parseIGMP(r io.Reader, device string) ([]string, error) {
	var groups []string
	here := false
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return groups, s.Err()
		}
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) == 0:
		case !strings.HasPrefix(s.Text(), "\t"):
			here = len(fields) > 1 && strings.TrimSuffix(fields[1], ":") == device
		case here:
			n, err := strconv.ParseUint(fields[0], 16, 32)
			if err != nil {
				return nil, fmt.Errorf("parse /proc/net/igmp: %w", err)
			}
			if g := hostOrderAddr(uint32(n)).String(); g != "224.0.0.1" {
				groups = append(groups, g)
			}
		}
	}
}
