package control

// The names of states and phases, beside those of Role, Outcome and package dhcp
// (its states, findings and the outcomes of a lease). `wanfail status`, the log and
// the user scripts use the same; docs/status.md lists them.

// The states of a WAN that are not the DHCP client's.
const (
	StateStandby    = "standby"    // a backup without an interface, as it should be
	StateDown       = "down"       // a primary without an interface
	StateMuted      = "muted"      // transmits nothing, deleted soon
	StateForeign    = "foreign"    // another interface has the name
	StateUnattended = "unattended" // it is there, and no keeper runs
)

// WANStates are these states.
func WANStates() []string {
	return []string{StateStandby, StateDown, StateMuted, StateForeign, StateUnattended}
}

// The phases of a transition. With several WANs the name of one stands before a
// phase of its own, and the service's name always follows PhaseStart and
// PhaseStop.
const (
	PhaseMacvlan = "macvlan"           // the link is there
	PhaseLease   = "lease"             // there is a lease
	PhaseAddress = "address"           // the kernel holds its address and routes
	PhaseSilent  = "silent"            // the link transmits nothing any more
	PhaseDeleted = "deleted"           // the link is gone
	PhaseRelease = "release"           // the lease was given back
	PhaseCommit  = "conntrackd commit" // the peer's connections are in the kernel
	PhaseResync  = "conntrackd resync" // the peer gets this router's connections
	PhaseYield   = "conntrackd yield"  // the peer may take over
	PhaseStart   = "start"
	PhaseStop    = "stop"
)

// Phases are all of them.
func Phases() []string {
	return []string{
		PhaseMacvlan, PhaseLease, PhaseAddress, PhaseSilent, PhaseDeleted, PhaseRelease,
		PhaseCommit, PhaseResync, PhaseYield, PhaseStart, PhaseStop,
	}
}
