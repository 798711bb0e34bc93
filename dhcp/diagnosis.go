package dhcp

import "fmt"

// Diagnosis names what stands between the client and a healthy lease. It is part
// of every Update and changes only when the finding does.
type Diagnosis uint8

// The findings.
const (
	OK                Diagnosis = iota // no finding
	NoCarrier                          // the link is down
	NoAnswer                           // requests leave and nothing comes back
	OffersNoAck                        // offers come, and no answer to any REQUEST
	StuckSession                       // a NAK, and since then no answer to DISCOVER
	OtherServer                        // another server offered another address
	UnexpectedAddress                  // the only address to be had is outside Config.Expect
	Refused                            // a server refuses with NAKs
	Conflict                           // the only address to be had is in another network of this router
	Unusable                           // a server answers, but nothing it says can be used
)

var diagnoses = [...]struct{ code, text string }{
	OK:                {"ok", "nothing is wrong"},
	NoCarrier:         {"no-carrier", "the link is down: check the cable, the modem and the switch port of the parent interface"},
	NoAnswer:          {"no-answer", "no DHCP server answers: check the VLAN and the modem, and whether the operator knows this MAC"},
	OffersNoAck:       {"offers-no-ack", "a server offers an address but does not confirm it: look for a relay, a second server or a filter between; the operator may see why"},
	StuckSession:      {"stuck-session", "the server refused the request and has been silent since: the operator's session for this MAC is stuck; power-cycle the modem, or wait until the session times out, or ask the operator to clear it"},
	OtherServer:       {"other-server", "another server on the link offers a different address: find out whose it is; on a WAN it is usually a router plugged in the wrong way round"},
	UnexpectedAddress: {"unexpected-address", "the address that is offered is outside of what `option expect` allows, and is refused: the modem may answer itself while it has no uplink, or the line is another one"},
	Refused:           {"refused", "the server refuses the request (NAK): the network was renumbered, or the operator does not accept this MAC or client identifier; the next attempts come at growing intervals"},
	Conflict:          {"conflict", "the address that is offered is in another network of this router or in one that is routed elsewhere, and is refused: give that network other addresses, or find out who answers on the line"},
	Unusable:          {"unusable", "a server answers, but its offer cannot be used; the log says why: look for a misconfigured server on the link or tell the operator"},
}

// String is the stable code for status output and tests of scripts.
func (d Diagnosis) String() string {
	if int(d) < len(diagnoses) {
		return diagnoses[d].code
	}
	return fmt.Sprintf("diagnosis(%d)", uint8(d))
}

// Text says in a sentence what was found and what to do about it.
func (d Diagnosis) Text() string {
	if int(d) < len(diagnoses) {
		return diagnoses[d].text
	}
	return d.String()
}

// MarshalText implements encoding.TextMarshaler with the code.
func (d Diagnosis) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
