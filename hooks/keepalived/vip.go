package keepalived

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Addresses are those of a computer, by interface.
type Addresses map[string][]netip.Prefix

// HostAddresses are those of this computer.
func HostAddresses() Addresses {
	all := Addresses{}
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		all[i.Name] = nil // that has none is an interface, too
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all[i.Name] = append(all[i.Name], p)
			}
		}
	}
	return all
}

// RunningLinks are the interfaces of this computer, and whether each is up with a
// carrier.
func RunningLinks() map[string]bool {
	all := map[string]bool{}
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		all[i.Name] = i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0
	}
	return all
}

// Have reports whether the computer has an address.
func (a Addresses) Have(addr netip.Addr) bool {
	for _, prefixes := range a {
		for _, p := range prefixes {
			if p.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// Devices are the names of the interfaces, sorted.
func (a Addresses) Devices() []string { return slices.Sorted(maps.Keys(a)) }

// VIP is a virtual address and how to ask for it by ARP.
type VIP struct {
	Device          string
	Source, Address netip.Addr
}

// Virtual are the virtual addresses of i.
func (i *Instance) Virtual() (all []netip.Addr) {
	for _, v := range i.VIPs {
		text, _, _ := strings.Cut(v, "/")
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// Askable are the virtual addresses of i that a computer with these addresses
// could ask for on the LAN.
func (i *Instance) Askable(own Addresses) (all []VIP) {
	for _, a := range i.Virtual() {
		for _, p := range own[i.Interface] {
			if a.Is4() && p.Addr().Is4() && p.Contains(a) && p.Addr() != a {
				all = append(all, VIP{Device: i.Interface, Source: p.Addr(), Address: a})
				break
			}
		}
	}
	return all
}
