// Package wan is the policy of one WAN as a pure function of time and events: it
// reads no clock, does no I/O and starts no goroutine.
//
// A Machine takes an Event and returns the Actions that follow from it. Some
// actions are calls (IsCall): their result is an event of its own, Done. A call
// is always the last action of a step, and its Done is the next event, so there
// is never more than one under way, and no order is executed between a change of
// the kernel and its result. After each step Wake returns when the machine wants to
// be woken.
//
// The keeper executes actions with the kernel, a DHCP client and the platform; a
// hook that finds no keeper executes the same ones in its own process; a dry run
// prints them. State is what all of them report.
//
// # What holds at any time
//
//   - After a Mute nothing lets the link transmit (Apply, StartDHCP, Announce)
//     before a newer order to be primary.
//   - No Apply has an address before the gate of its order has opened, unless the
//     address was there all the time.
//   - Nothing is announced before the kernel holds it.
//   - The newest order counts; the same role again is no action at all.
//   - A lease is given back (Release) by an order that says so, and by nothing
//     else.
//   - A link that lingers, mute, until the peer has the connections is deleted when
//     its time has passed, or when it is no longer mute, and not before.
//   - What failed is tried again, each time later than the time before; what
//     cannot be repaired by wanfail (a foreign link) is observed again when the
//     kernel reports a change, and every 15 s.
//
// Only Machine.raise lets the MAC address transmit.
package wan
