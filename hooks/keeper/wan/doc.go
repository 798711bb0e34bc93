// Package wan is the policy of one WAN as a pure function of time and events: it
// reads no clock, does no I/O and starts no goroutine.
//
// A Machine takes an Event and returns the Actions that follow from it. Some
// actions are calls (IsCall): their result is an event of its own, Done. A call
// is always the last action of a step, and its Done is the next event, so there
// is never more than one under way, and never an order that is obeyed between a
// change of the kernel and the account of it. After each step Wake says when the
// machine wants to be woken.
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
//   - A link that is mute for the sake of the peer's connections is deleted when
//     its time is over, or when it is mute no more, and not before.
//   - What failed is tried again, each time later than the time before; what
//     cannot be repaired from here (a link of somebody else) is looked at again
//     when the kernel reports a change, and every 15 s.
//
// Each way to let the MAC address transmit leads through Machine.raise.
package wan
