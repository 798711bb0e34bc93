// Package dhcp is an RFC 2131 client for a WAN that two routers share.
//
// A pure state machine (machine.go: no clock, no I/O) decides; Client drives it
// with a clock and sockets and passes every change to its consumer through
// Updates. The consumer owns the interface: it puts the address of the Lease on
// it and takes it away when an Update carries none.
//
// What differs from a client for one host, and why:
//
//   - There is no random delay before the first DISCOVER (RFC 2131 4.4.1 wants
//     1 to 10 s so that not all clients of a town transmit at the same moment when
//     its power returns). A failover is one router transmitting in place of another.
//   - The address is neither probed by ARP nor ever declined (4.4.1 SHOULD). The
//     peer may have held it a moment ago, with this very MAC; a probe costs
//     seconds and proves nothing.
//   - Run never sends RELEASE: the peer needs the lease. Release does it when a
//     person wants it.
//   - A remembered lease that is still valid is used before the server has
//     confirmed it, and kept when the server does not answer (3.2, 4.4.2).
//
// Times are durations since boot by CLOCK_BOOTTIME, which counts suspend and
// which nobody sets. The wall clock plays no part: routers often have no RTC.
//
// Everything that comes from the wire or from a lease file is untrusted. It
// reaches a Lease only after validation (parse.go, names.go, routes.go), what
// does not pass is dropped and counted, and no value of a Lease needs quoting.
package dhcp
