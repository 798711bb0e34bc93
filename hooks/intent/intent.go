package intent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Intent is one recorded role request.
type Intent struct {
	Role Role `json:"role"`
	// Scope is the VRRP instance or sync group that changed; empty: every WAN.
	Scope string `json:"scope,omitzero"`
	Token Token  `json:"token"`
	// Owner is the keepalived that asked. When it exits the intent counts as
	// backup. Zero: a person asked, and no process's end changes it.
	Owner Process `json:"owner,omitzero"`
	// Channel is the process that reads keepalived's FIFO, zero for hooks. keepalived
	// does not replace one that has ended until it reloads: then the keeper reads
	// FIFO in its place. Where it cannot, the intent counts as backup, since nobody
	// would hear that keepalived takes the role back.
	Channel Process `json:"channel,omitzero"`
	FIFO    string  `json:"fifo,omitzero"` // the path
	// State is the VRRP state or the command as it was given, "FAULT", for people.
	State string    `json:"state"`
	At    time.Time `json:"at"` // wall clock, for people only
}

// Covers reports whether the intent applies to a WAN that is bound to the given
// instance; to a WAN that is bound to none every intent applies.
func (i Intent) Covers(instance string) bool {
	return i.Scope == "" || instance == "" || i.Scope == instance
}

// By says who asked, for people.
func (i Intent) By() string {
	who := "by hand"
	if i.Owner != (Process{}) {
		who = fmt.Sprintf("keepalived[%d]", i.Owner.PID)
	}
	if i.Scope != "" {
		who += " " + i.Scope
	}
	return who + " " + i.State
}

// Intents are the newest role requests of this boot, at most one for each scope.
type Intents []Intent

// For returns the newest intent that covers instance.
func (is Intents) For(instance string) (newest Intent, ok bool) {
	for _, i := range is {
		if i.Covers(instance) && (!ok || i.Token.Compare(newest.Token) > 0) {
			newest, ok = i, true
		}
	}
	return newest, ok
}

// Supersedes returns the intent that makes t obsolete in the given scope: one
// that is newer and covers all that the one with the token t covers.
func (is Intents) Supersedes(scope string, t Token) (newer Intent, ok bool) {
	for _, i := range is {
		if (i.Scope == "" || i.Scope == scope) && i.Token.Compare(t) > 0 {
			return i, true
		}
	}
	return Intent{}, false
}

// Holds reports whether i, or one that makes it obsolete, is among the intents.
func (is Intents) Holds(i Intent) bool {
	return slices.ContainsFunc(is, func(o Intent) bool {
		return (o.Scope == "" || o.Scope == i.Scope) && o.Token.Compare(i.Token) >= 0
	})
}

// With returns the intents with i among them, in place of those that it makes
// obsolete; or, if a newer one covers all that i covers, is itself and that one.
func (is Intents) With(i Intent) (with Intents, newer *Intent) {
	if n, ok := is.Supersedes(i.Scope, i.Token); ok {
		return is, &n
	}
	with = slices.DeleteFunc(slices.Clone(is), func(o Intent) bool {
		return o.Token.Compare(i.Token) <= 0 && (i.Scope == "" || o.Scope == i.Scope)
	})
	return append(with, i), nil
}

// ValidScope refuses names that keepalived cannot have and that would garble a log.
func ValidScope(name string) error {
	switch {
	case name == "":
		return errors.New("instance name is empty")
	case len(name) > 128:
		return fmt.Errorf("instance name of %d bytes is too long, at most 128", len(name))
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("instance name %q has unprintable characters", name)
	}
	return nil
}
