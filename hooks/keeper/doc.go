// Package keeper is the one long-lived process of a router: it reads the
// recorded intents and makes the router match them.
//
// It is level-triggered. Whatever happens (a hook's request, a new record, the
// end of keepalived, a lease, a change in the kernel, a timer), the same question
// is asked: what should be, and what is? So a lost event costs time at the worst,
// never correctness, and a keeper that is killed and started again goes on where
// the other stopped.
//
// What decides is pure and in packages of its own: router (what recorded intents
// mean, and what is ordered to whom) and wan (what one WAN does next). This package
// executes. One goroutine (Keeper.loop) hands events to the router's machine and
// its actions to tasks, each with a goroutine of its own that waits for no other:
//
//   - uplink, one for each WAN, executes what the WAN's machine decides: kernel,
//     DHCP client, announcements;
//   - daemons converges the services, replication runs conntrackd's jobs, fallback
//     keeps the backup's route, ports sets parents up, publishing tells resolver,
//     netifd and user scripts of the lease;
//   - recorder, reread, route, server and watchFitness connect the loop with the
//     record, the kernel's events, the socket and the rest of the machine.
//
// They hand each other values through mailboxes (queue, latest, signal) that nobody
// waits at to put something in. A task that ends before its time ends the keeper,
// with an error: the next one does everything.
//
// A hook that finds no keeper (Alone, Silence) executes the same decisions in its
// own process, a dry run (Rehearse) prints them, and status without a keeper (Look)
// shows what a keeper would decide.
package keeper
