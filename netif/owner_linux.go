package netif

import (
	"fmt"
	"hash/fnv"
	"net"
	"strings"
)

// owner is one wanfail among several on a machine, each with a run directory of its
// own, and how its links are marked.
type owner struct {
	group uint32
	alias string
}

// theOwner is the wanfail that has the usual run directory.
var theOwner = owner{group: Group, alias: Alias}

// groupBits are those of an interface group in which all wanfails agree.
const groupBits = 0xffff0000

// ownerOf marks by an id: a path, or "" for the usual run directory. The group is
// in the message that makes a link. The alias follows, and tells apart two ids that
// have the same group.
func ownerOf(id string) owner {
	if id == "" {
		return theOwner
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	group := h.Sum32()>>16 ^ h.Sum32()&0xffff
	if group == Group&^groupBits {
		group++
	}
	alias := Alias + " " + id
	return owner{group: Group&groupBits | group, alias: alias[:min(len(alias), maxAlias)]}
}

// maxAlias is the length of an alias without its final zero (IFALIASZ).
const maxAlias = 255

// WithOwner has the Manager act for one of several wanfails on a machine, which id
// identifies: links that another id made are foreign to it. Without it, or with an
// empty id, it acts for the one that there usually is.
func WithOwner(id string) Option {
	return func(m *Manager) { m.owner = ownerOf(id) }
}

// marked reports whether some wanfail made the link: it was born with the mark.
func (l *link) marked() bool { return l.kind == macvlanKind && l.group&groupBits == Group&groupBits }

// made reports whether o made the link. The group says so: it is set in the message
// that creates the link, and nobody else has a use for that number.
func (o owner) made(l *link) bool {
	return l.kind == macvlanKind && l.group == o.group && (l.alias == o.alias || !isAlias(l.alias))
}

// owns reports whether o made the link, also one whose group somebody has changed.
// An alias can be copied, so it counts only along with the MAC.
func (o owner) owns(l *link, mac net.HardwareAddr) bool {
	return o.made(l) || l.kind == macvlanKind && l.alias == o.alias && l.hasMAC(mac)
}

func isAlias(s string) bool { return s == Alias || strings.HasPrefix(s, Alias+" ") }

// otherError tells of a link of another wanfail. It is an ErrForeign.
type otherError struct{ text string }

func (e *otherError) Error() string { return e.text }

// Is implements errors.Is.
func (e *otherError) Is(target error) bool { return target == ErrForeign }

// foreign tells of a link that o did not make, and that is in the way.
func (o owner) foreign(l *link, what string) error {
	if !l.marked() {
		return fmt.Errorf("%s: %s exists: %w; remove or rename it, or choose another name for the WAN", what, l.describe(), ErrForeign)
	}
	return &otherError{fmt.Sprintf("%s: %s exists; stop that one, or choose another name and another MAC for the WAN", what, l.describe())}
}
