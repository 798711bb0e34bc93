package wan

import (
	"log/slog"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// Order is what the router wants of a WAN. The newest counts.
type Order struct {
	Epoch int // ascends from change to change
	Role  intent.Role
	// Open tells that the gate is open already: the address may receive packets,
	// since the replicated connections are in the kernel. Else GateOpened follows.
	Open bool
	// Linger is how long a demoted link stays, mute, before it is deleted.
	Linger time.Duration
	// Release gives the lease back to the server, which only a person may ask.
	Release bool
}

// Event is something that a Machine is told: one of the types below.
type Event any

// The events.
type (
	// Found is what an earlier process left. It comes first, if it comes at all.
	Found struct {
		Observed   netif.Observed
		Remembered *dhcp.Lease // what the lease file holds, nil: nothing
	}
	// Ordered is a new order.
	Ordered struct{ Order }
	// GateOpened lets the address of the order of this epoch receive packets.
	GateOpened struct{ Epoch int }
	// LeaseChanged is an update of the DHCP client.
	LeaseChanged struct{ dhcp.Update }
	// ClientEnded tells that the DHCP client has ended of its own accord.
	ClientEnded struct{}
	// KernelChanged tells that link, parent, address or routes may have changed.
	KernelChanged struct {
		CarrierLost bool // the parent was without carrier, if only for a moment
	}
	// Refresh asks for a look at the kernel and to publish the lease again.
	Refresh struct{}
	// MACMoved tells that the switch may send the traffic of the shared MAC to
	// another port: the address is announced again.
	MACMoved struct{ Reason string }
	// GatewayProbed is what the last ARP request to the gateway found.
	GatewayProbed struct{ control.Reach }
	// Woke tells that the time which Wake named has come.
	Woke struct{}
	// Done is the result of a call. What does not belong to the call is zero.
	Done struct {
		Took       time.Duration
		Observed   netif.Observed // of Observe
		Remembered *dhcp.Lease    // of Observe
		Changes    netif.Changes  // of Apply
		Overtaken  bool           // of Apply: a newer order is on its way, nothing was done
		Deleted    bool           // of Purge
		Err        error
	}
)

// Action is something to be done: one of the types below.
type Action any

// The calls. Each is answered by Done.
type (
	// Observe reads the kernel: link and parent or, in full, also addresses and
	// routes, and the remembered lease.
	Observe struct{ Full bool }
	// Apply makes the kernel equal Desired and lets the link transmit. With Repair
	// it is up already, as far as is known, and a hook may have muted it for a newer
	// order: then nothing is done, and Done says so.
	Apply struct {
		Desired netif.Desired
		Repair  bool
	}
	// Mute stops every transmission with the shared MAC.
	Mute struct{}
	// Purge deletes the link.
	Purge struct{}
	// Release sends a DHCPRELEASE.
	Release struct{ Lease *dhcp.Lease }
	// StartDHCP starts the DHCP client.
	StartDHCP struct{}
)

// The other actions cannot fail.
type (
	// CancelDHCP begins to end the DHCP client and does not wait.
	CancelDHCP struct{}
	// StopSending ends the DHCP client and all announcements. It returns when
	// nothing of this process can transmit any more.
	StopSending struct{}
	// Announce sends ARP requests to the gateway of a lease and, with Frames,
	// announces the address, in place of what was announced before.
	Announce struct {
		Lease  *dhcp.Lease
		Frames bool
	}
	// StopAnnouncing ends that.
	StopAnnouncing struct{}
	// SetCarrier tells the DHCP client whether the link carries packets.
	SetCarrier struct{ Up bool }
	// ConfirmLease makes the DHCP client ask whether the lease still holds.
	ConfirmLease struct{}
	// Publish passes a lease to the platform; nil withdraws it.
	Publish struct{ Lease *dhcp.Lease }
	// Log is a line for the log.
	Log struct {
		Level slog.Level
		Text  string
		Args  []any
	}
)

// IsCall reports whether an action is answered by Done.
func IsCall(a Action) bool {
	switch a.(type) {
	case Observe, Apply, Mute, Purge, Release, StartDHCP:
		return true
	}
	return false
}
