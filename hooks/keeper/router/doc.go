// Package router decides what a whole router does: the role of each WAN and of
// the router, its services, the replication of connections, the route of a
// backup. It is pure, as package wan is: no clock, no I/O, no goroutine.
//
// Decide is the one function that derives the roles from the recorded intents. The
// keeper, a hook without a keeper, a dry run and a status without a keeper all
// call it.
//
// A Machine is level-triggered: whatever happens, it compares what should be with
// what was ordered, and orders the difference. It records transitions and tells
// when a role request is met (Judge). Actions are orders to tasks, none of which is
// waited for; their results come back as events.
//
// # What holds at any time
//
//   - A promotion commits the peer's connections before any WAN may have its
//     address (Order.Open, OpenGate), or waits CommitLimit in vain. The router
//     becomes the one that sends connections (Resume) once an address is there.
//   - A demotion prepares the peer's takeover (Yield) if this router was primary.
//     One that returns as backup leaves the replication alone: it is just being
//     sent what it may have to take over a moment later.
//   - Services run while any WAN is primary.
//   - A change of role makes a new epoch, and what an older epoch reports does
//     not count for it.
package router
