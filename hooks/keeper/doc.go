// Package keeper is the one long-lived process of a router: it reads the
// recorded intents and makes the router match them.
//
// It is level-triggered. Whatever happens (a hook's request, a new record, the
// exit of keepalived, a lease, a change in the kernel, a timer), it compares the
// desired with the actual state. So a lost event costs time at the worst, never
// correctness, and a keeper that is killed and started again continues where the
// other stopped.
//
// What decides is pure and in packages of its own: router (what recorded intents
// mean, and what is ordered to whom) and wan (what one WAN does next). This package
// executes. One goroutine (Keeper.loop) passes events to the router's machine and
// its actions to tasks, each with a goroutine of its own that waits for no other:
//
//   - uplink, one for each WAN, executes what the WAN's machine decides: kernel,
//     DHCP client, announcements;
//   - daemons converges the services, replication runs conntrackd's jobs, fallback
//     keeps the backup's route, ports sets parents up, publishing passes the lease
//     to resolver, netifd and user scripts;
//   - recorder, reread, route, server and watchFitness connect the loop with the
//     record, the kernel's events, the socket and the rest of the machine.
//
// They pass each other values through mailboxes (queue, latest, signal) into which
// a value can be put without waiting. A task that ends early ends the keeper with
// an error: its supervisor starts another one.
//
// A hook that finds no keeper (Alone, Silence) executes the same decisions in its
// own process, a dry run (DryRun) prints them, and status without a keeper (Look)
// shows what a keeper would decide.
package keeper
