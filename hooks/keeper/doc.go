// Package keeper is the one long-lived process of a router: it reads the
// recorded intents and makes the router match them.
//
// It is level-triggered. Whatever happens (a hook's poke, a new record, the
// death of keepalived, a lease, a change in the kernel, a timer), the same
// question is asked: what should be, and what is? So a lost event costs time at
// the worst, never correctness, and a keeper that is killed and started again
// goes on where the other stopped.
//
// One goroutine (Keeper.loop) owns the intents and decides roles. Each WAN has
// a goroutine of its own (uplink) that owns its link, its DHCP client and its
// voice; another one (daemons) owns the services. They take orders, of which the
// latest wins, and report what they have reached; none ever waits for another.
package keeper
