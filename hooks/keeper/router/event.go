package router

import (
	"log/slog"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
)

// Event is something that a Machine is told: one of the types below.
type Event any

// The events.
type (
	// Started is the first: what is recorded and what an earlier keeper left.
	Started struct {
		Intents intent.Intents
		States  intent.States
		Ended   []intent.Process // those that intents depend on and that have ended
		Found   []Found          // of each WAN
	}
	// Requested are intents, in whatever way they came. Older ones than are known
	// change nothing.
	Requested struct {
		Intents []intent.Intent
		States  intent.States    // what keepalived said last, where that is recorded
		Ended   []intent.Process // as in Started
		// Release gives the lease back when the first of them is executed.
		Release bool
	}
	// Gone tells how a watched process ended.
	Gone struct {
		Process intent.Process
		Why     string
	}
	// Reached is where a WAN stands.
	Reached struct {
		WAN   int
		State wan.State
	}
	// Served is where the services stand.
	Served struct {
		Epoch    int
		Settled  bool // they are as ordered last, or cannot be
		Since    time.Duration
		Services []control.Service
		Phases   []control.Phase // counted from Since
		Problems []string
	}
	// Replicated is the end of a job of the replication.
	Replicated struct {
		Job   Job
		Epoch int
		Took  time.Duration
		Ended time.Duration // boot time
		Err   error
	}
	// ReplicaHealth tells why the replication would do no job now, nil: it would.
	ReplicaHealth struct{ Problem error }
	// LowerAdvert tells that another router was master for a moment, while this one
	// was master all the time.
	LowerAdvert struct{ Scope, Reason string }
	// Woke tells that the time which Wake named has come.
	Woke struct{}
)

// Found is what an earlier keeper left of a WAN.
type Found struct {
	State control.WAN // until the WAN reports
	Held  bool        // with an address of ours, up or mute
	Up    bool        // with an address that a remembered lease covers
}

// Job is one of the replication's.
type Job string

// The jobs.
const (
	Commit Job = control.PhaseCommit // put the peer's connections into the kernel
	Resume Job = control.PhaseResync // become the router that sends
	Yield  Job = control.PhaseYield  // prepare for the peer to take over
)

// Action is something to be done: one of the types below.
type Action any

// The actions.
type (
	// Begin announces that a change of role begins.
	Begin struct{ Role intent.Role }
	// SetFallback gives the router the default route of a backup, or takes it away,
	// which must be done before a WAN is ordered to be primary.
	SetFallback struct{ Role intent.Role }
	// Replicate is a job for the replication. It ends those of an older epoch.
	Replicate struct {
		Job   Job
		Epoch int
	}
	// Serve starts or stops the services.
	Serve struct {
		Epoch int
		Up    bool
	}
	// Turned passes the router's role to user scripts.
	Turned struct {
		Role intent.Role
		By   string
	}
	// Order is an order to a WAN.
	Order struct {
		WAN   int
		Order wan.Order
	}
	// OpenGate lets the address of a WAN's order receive packets.
	OpenGate struct{ WAN, Epoch int }
	// Announce has a WAN announce its address again.
	Announce struct {
		WAN    int
		Reason string
	}
	// Watch a process. If it reads the FIFO of Owner, its end counts only when the
	// FIFO cannot be read in its place.
	Watch struct {
		Process intent.Process
		FIFO    string
		Owner   intent.Process
	}
	// Unwatch it.
	Unwatch struct{ Process intent.Process }
	// Ended is a transition for the log.
	Ended struct {
		Text       string
		Transition control.Transition // At is zero
	}
	// Log is a line for the log.
	Log struct {
		Level slog.Level
		Text  string
		Args  []any
	}
)
