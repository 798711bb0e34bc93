package intent

import (
	"fmt"
	"strings"
)

// Role is what this router is to be on the WAN side.
type Role uint8

const (
	// Backup transmits nothing on the WAN. It is the zero value: whatever is unknown,
	// unreadable or lost makes the router backup, never a second primary.
	Backup Role = iota
	// Primary holds the shared MAC address and the leased address.
	Primary
)

// String returns "primary" or "backup".
func (r Role) String() string {
	if r == Primary {
		return "primary"
	}
	return "backup"
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it takes what String
// returns and nothing else.
func (r *Role) UnmarshalText(text []byte) error {
	switch string(text) {
	case "primary":
		*r = Primary
	case "backup":
		*r = Backup
	default:
		return fmt.Errorf("unknown role %q", text)
	}
	return nil
}

// Change is what a state reported by keepalived means for the role.
type Change uint8

const (
	// UnknownState is what is no state of keepalived.
	UnknownState Change = iota
	// NoChange is a report that leaves the role as it is.
	NoChange
	// ToPrimary and ToBackup are changes of the role.
	ToPrimary
	ToBackup
	// ToAnnounce leaves the role as it is: the peer was master for a moment, too, so
	// a primary announces its addresses again.
	ToAnnounce
)

// ParseState returns what a VRRP state means, whatever its case: "MASTER" and
// "primary" make the router primary; "BACKUP", "FAULT", "STOP" and "DELETED"
// make it backup. "MASTER_RX_LOWER_PRI", an advert of a lower priority, tells a
// master that another router was master, too: the switches have learned the MAC
// address at that router's port. Reports of priorities change nothing
// (keepalived.conf(5), NOTIFY SCRIPTS).
func ParseState(state string) Change {
	switch strings.ToUpper(state) {
	case "PRIMARY", "MASTER":
		return ToPrimary
	case "BACKUP", "FAULT", "STOP", "DELETED":
		return ToBackup
	case "MASTER_RX_LOWER_PRI":
		return ToAnnounce
	case "MASTER_PRIORITY", "BACKUP_PRIORITY":
		return NoChange
	default:
		return UnknownState
	}
}
