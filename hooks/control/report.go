package control

import (
	"net/netip"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
)

// ReportSchema is the version of Report's form. It changes when a field changes
// its meaning or goes away, not when one is added (docs/status.md).
const ReportSchema = 1

// Report is what a keeper knows of its router: the answer to "status".
type Report struct {
	Schema     int         `json:"schema"` // ReportSchema, where the report is printed
	Version    string      `json:"version"`
	PID        int         `json:"pid"` // of the keeper; 0: none runs, and this is what was found without one
	Role       intent.Role `json:"role"`
	Since      time.Time   `json:"since,omitzero"` // zero: no role was requested yet, and no keeper runs
	By         string      `json:"by"`             // who asked for the role
	Changes    int         `json:"role_changes"`   // of the role since the keeper started
	VRRP       []VRRP      `json:"vrrp"`           // what keepalived said last
	WANs       []WAN       `json:"wans"`
	Services   []Service   `json:"services"`
	Conntrackd string      `json:"conntrackd,omitzero"`
	// Keepalived is nil until the keeper has looked for it.
	Keepalived  *Daemon      `json:"keepalived,omitempty"`
	Boot        []AtBoot     `json:"boot,omitempty"`
	Transitions []Transition `json:"transitions"` // the newest last
	Warnings    []string     `json:"warnings"`
}

// Daemon is a program that the router cannot do without.
type Daemon struct {
	PID     int    `json:"pid"` // 0: it does not run
	Problem string `json:"problem,omitempty"`
}

// AtBoot tells whether a service is started when the machine boots.
type AtBoot struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// VRRP is what keepalived said last of an instance or group. It is kept when a
// person sets the role by hand, and when keepalived has ended.
type VRRP struct {
	Name  string      `json:"name"`  // of the instance or group; empty: its hooks name none
	State string      `json:"state"` // as keepalived said it, "MASTER"
	Role  intent.Role `json:"role"`  // what that means
	Since time.Time   `json:"since"`
	PID   int         `json:"pid"`   // of the keepalived that said it
	Alive bool        `json:"alive"` // it still runs
}

// WAN is one uplink in a Report.
type WAN struct {
	Name         string       `json:"name"`
	Parent       string       `json:"parent"`
	MAC          string       `json:"mac"`
	Role         intent.Role  `json:"role"`
	State        string       `json:"state"` // of WANStates or, while primary, of package dhcp
	Address      netip.Prefix `json:"address,omitzero"`
	Gateway      netip.Addr   `json:"gateway,omitzero"`
	Server       netip.Addr   `json:"server,omitzero"`
	DNS          []netip.Addr `json:"dns,omitempty"`
	Options      []string     `json:"options,omitempty"`       // of `option request`, as NUMBER:HEX
	LeaseSeconds int64        `json:"lease_seconds"`           // left; -1: infinite
	RenewSeconds int64        `json:"renew_seconds,omitempty"` // until the next renewal
	LeaseTotal   int64        `json:"lease_total_seconds,omitempty"`
	Diagnosis    string       `json:"diagnosis,omitempty"`
	Detail       string       `json:"diagnosis_detail,omitempty"` // what the server said, or what is wrong with its answer
	Gatewayed    *Reach       `json:"gateway_reachability,omitempty"`
	Error        string       `json:"error,omitempty"` // what keeps it from its role
}

// Reach is what the last ARP requests to the gateway found.
type Reach struct {
	Reachable bool      `json:"reachable"`
	LastReply time.Time `json:"last_reply,omitzero"`
	RTTMicros int64     `json:"rtt_us,omitempty"`
}

// Service is one service in a Report.
type Service struct {
	Name    string `json:"name"`
	Backend string `json:"backend"` // "systemd" or "init"
	Running bool   `json:"running"`
	// Pending: the service is being started or stopped. Running is what was found
	// before, and false where the state has not been read yet.
	Pending bool   `json:"pending,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Transition is one change of role with what it took.
type Transition struct {
	At       time.Time     `json:"at"`
	Role     intent.Role   `json:"role"`
	By       string        `json:"by"`
	Took     time.Duration `json:"took_ns"`
	Phases   []Phase       `json:"phases"`
	Problems []string      `json:"problems,omitempty"`
}

// Phase is one part of a transition; phases overlap, so they do not add up.
type Phase struct {
	Name   string        `json:"name"`             // of Phases
	Detail string        `json:"detail,omitempty"` // "198.51.100.7/24 from 198.51.100.1"
	Took   time.Duration `json:"took_ns"`
	At     time.Duration `json:"at_ns"` // its end, since the start of the transition
	Error  string        `json:"error,omitempty"`
}

// Reported is the form of states in a Report. wall turns boot time into the
// time of day.
func Reported(s intent.States, gone func(intent.Process) bool, wall func(time.Duration) time.Time) []VRRP {
	all := []VRRP{}
	for _, i := range s {
		all = append(all, VRRP{
			Name: i.Scope, State: i.VRRPState(), Role: i.Role, Since: wall(i.Token.Boot()), PID: i.Owner.PID, Alive: !gone(i.Owner),
		})
	}
	return all
}
