// Package netif makes the kernel equal a Desired: one macvlan with the MAC that
// both routers share, its address and its routes. It also stops every transmission
// of that link (Mute), removes it (Purge), announces it to the neighbours
// (Announce), asks whether the gateway is there (ProbeGateway) and reports
// changes made by others (Watch).
//
// # Ownership
//
// A link is created by a single RTM_NEWLINK that carries name, parent, MAC, MTU,
// mode and an interface group, so there is no instant at which a link of ours exists
// without a mark. The alias follows and is what people see. The mark says whose it is
// (WithOwner): each run directory has a group and an alias of its own, the usual one
// Group and Alias, which all links of earlier versions carry. A link is ours if it is a
// macvlan and either has our group, and not the alias of another wanfail, or our
// alias and the configured MAC. Anything else is foreign, the link of another run
// directory included: never changed, never deleted, only named in an error
// (ErrForeign, ErrTwin).
// Addresses and routes carry Protocol, and what others put on the link stays.
//
// # Order
//
// Plan compares what is observed with what is desired and returns the steps between
// them, without asking anybody; Apply executes them, and a dry run prints them. The
// link is created down, IPv6 on it is silenced, it is set up, then come the address,
// the default route, the other routes, the removal of routes and addresses of an
// earlier lease, and unmuting last: an Apply that fails half way leaves a link that
// sends less, not more. A route that the kernel refuses is told (Changes.Unusable) and
// costs that route only. Mute comes before Purge, by as much time as the peer needs
// to commit its conntrack table.
//
// # Silence
//
// IPv6 is switched off on the link before it is set up (disable_ipv6 and
// addrgenmode none: no router solicitation, no MLD report, no duplicate address
// detection). IPv4 sends nothing by itself: the kernel joins 224.0.0.1, and a
// report for that group is never sent (RFC 2236, section 6). The parent hears
// broadcasts, too, so link and parent are made to answer ARP for their own
// addresses only (arp_ignore 1, unless it already is stricter): by default the
// parent would answer for the WAN's address, with its own MAC.
//
// Mute puts on two locks, either of which is enough:
//
//   - It replaces the root queueing discipline of the link with "blackhole". That
//     stops everything which passes the transmit path: local sockets, bound or not,
//     packet sockets, replies by ARP, ICMP and TCP, forwarded packets, and those of
//     an nftables flowtable, which would ignore a change of routes. When the kernel
//     answers, it has waited for transmissions that were in progress
//     (dev_deactivate_many in net/sched/sch_generic.c), so no frame is handed to the
//     parent afterwards. What the parent's own queue or hardware holds by then still
//     drains; on a port without a shaper that is less than a millisecond.
//   - It takes the link's carrier away (proto_down, for macvlans since Linux 5.0). A
//     link without carrier gets no discipline that transmits, whatever is attached to
//     it, and a packet socket that asks to go past the discipline
//     (PACKET_QDISC_BYPASS) is refused. It comes into effect a moment later
//     (linkwatch), which is why it is the second. It leaves link, address, routes and
//     masqueraded entries as they are; only neighbours are forgotten, which is why a
//     link that is unmuted asks for its gateway (ProbeGateway). The kernel gives the
//     carrier back when that of the parent changes.
//
// The first is what shapers replace without a thought; the second nobody else
// uses. Watch reports changes of both (RTNLGRP_TC, RTNLGRP_LINK), and another Mute
// puts back what is missing. Both cost 30 to 60 microseconds. What else could be a
// second lock is less: an nftables egress chain (Linux 5.16) goes with every `nft
// flush ruleset`, so with each reload of a firewall; a filter at clsact needs modules
// that neither OpenWrt nor every other kernel has, and goes with `tc qdisc del`;
// IFF_NOARP stops ARP only; a macvlan's mode and source list are about what it
// receives; setting the link down deletes what was masqueraded.
//
// The discipline is part of every kernel that has packet schedulers at all
// (net/sched/Makefile builds it with CONFIG_NET_SCHED), OpenWrt's included. On
// one that has none, Mute sets the link down: silence matters more than the
// sessions.
//
// Muting leaves routes and address where they are, for three reasons. The
// kernel deletes masqueraded conntrack entries when their address or device
// goes, and conntrackd would replicate the deletion to the peer that is about
// to use them. It also deletes such an entry as soon as one packet of it is
// routed out of another device (nf_nat_oif_changed), which is what happens when
// the WAN's default route is gone and another one takes over (that of a backup is
// out of reach of forwarded packets, see BackupTable). And without a route the
// router would answer clients that have not yet noticed the failover with ICMP
// unreachable, which ends their new connections, where silence makes them try
// again.
package netif
