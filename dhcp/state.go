package dhcp

import "fmt"

// State is the client's state (RFC 2131 4.4, figure 5).
type State uint8

// The states.
const (
	Init       State = iota // no lease, nothing asked yet
	Selecting               // DISCOVER sent
	Requesting              // an offer was chosen, REQUEST sent
	InitReboot              // about to ask for the remembered address
	Rebooting               // asked for the remembered address
	Bound                   // lease held, nothing to send
	Renewing                // lease held, past T1: asking its server
	Rebinding               // lease held, past T2: asking any server
)

var states = [...]string{"init", "selecting", "requesting", "init-reboot", "rebooting", "bound", "renewing", "rebinding"}

// String is the lower-case name of RFC 2131.
func (s State) String() string {
	if int(s) < len(states) {
		return states[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Update has everything that the consumer needs; the newest one makes all
// older ones irrelevant.
type Update struct {
	State State
	// Lease is the one to be applied now. nil: no address may be held.
	Lease     *Lease
	Diagnosis Diagnosis
	// Detail explains Refused and StuckSession by what the server said with its
	// NAK (option 56, printable ASCII), and Unusable by what is wrong.
	Detail string
}
