package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Config says who the client is and how it asks. Both routers need the same
// values in all fields but Priority, Host and LeaseFile: to the server they are one
// client.
type Config struct {
	// Interface is the device to send and receive on. It has to exist only while the client
	// has something to send, and may be replaced by another of the same name.
	Interface string
	// MAC is the shared one: the device's address and chaddr.
	MAC net.HardwareAddr

	Hostname    string // option 12; "": not sent
	VendorClass string // option 60; "": not sent
	UserClass   string // option 77 as one RFC 3004 instance; "": not sent

	// ClientID is option 61, raw, including the type byte. nil: not sent, and the
	// server goes by the MAC; that is also what OpenWrt does.
	ClientID []byte

	Broadcast   bool     // ask for broadcast answers (RFC 2131 4.1)
	RapidCommit bool     // accept an ACK to the DISCOVER (option 80, RFC 4039)
	Request     []uint8  // more options to ask for; see Lease.Extra
	Send        []Option // more options to send; they replace the client's own

	// Priority is the SO_PRIORITY of all frames, from which the egress map of a
	// VLAN parent takes the 802.1p priority.
	Priority int

	// Expect is where the address must be: one elsewhere is refused and
	// UnexpectedAddress reported. The zero Prefix expects nothing.
	Expect netip.Prefix

	// Host describes what else this router has, which no lease may conflict with. It
	// is called before each answer is used and now and then while a lease is held, so
	// it must be quick. nil: nothing is known, and every lease is taken.
	Host func() (Host, error)

	// LeaseFile keeps the lease across restarts; nil: it is not kept.
	LeaseFile File
}

// File holds a lease, which is read and replaced as a whole. Where it is and how
// it is opened safely is known to the consumer.
type File interface {
	// Read returns the content: fs.ErrNotExist without a file, another error if
	// it is longer than limit.
	Read(limit int) ([]byte, error)
	// Write replaces the content; whoever reads sees the old or the new.
	Write(content []byte) error
	// Remove removes the file, if there is one.
	Remove() error
	// Boot identifies the boot that the content belongs to. It is the same for all
	// who use the file, and another one after the next boot.
	Boot() (string, error)
	// String is its name, for people.
	String() string
}

const (
	defaultMTU = 1500
	// ipUDP is what an IPv4 datagram adds to a DHCP message. Option 57 counts the
	// message alone.
	ipUDP = 20 + 8
	// maxPriority bounds SO_PRIORITY to what 802.1p has. 7 needs CAP_NET_ADMIN
	// (socket(7)).
	maxPriority = 7
)

// Validate reports why a client cannot start with this configuration.
func (c *Config) Validate() error {
	if c.Interface == "" || len(c.Interface) > 15 {
		return fmt.Errorf("interface name %q", c.Interface)
	}
	if len(c.MAC) != 6 || c.MAC[0]&1 != 0 || bytes.Equal(c.MAC, make([]byte, 6)) {
		return fmt.Errorf("MAC %v is not that of an Ethernet host", c.MAC)
	}
	if c.Priority < 0 || c.Priority > maxPriority {
		return fmt.Errorf("priority %d is not 0 to %d", c.Priority, maxPriority)
	}
	return c.ValidateOptions()
}

// ValidateOptions is the part of Validate about what the server is sent.
func (c *Config) ValidateOptions() error {
	if c.ClientID != nil && (len(c.ClientID) < 2 || len(c.ClientID) > 255) {
		return errors.New("a client identifier has 2 to 255 bytes, the first is its type (RFC 2132 9.14)")
	}
	if c.Expect.IsValid() && !c.Expect.Addr().Is4() {
		return fmt.Errorf("expected prefix %v is not IPv4", c.Expect)
	}
	// One byte of option 77 is the length of its instance.
	if len(c.UserClass) > 254 {
		return fmt.Errorf("user class: %w", errTooLong)
	}
	if slices.Contains(c.Request, 0) || slices.Contains(c.Request, 255) {
		return errors.New("request option 0 or 255: it is not an option")
	}
	if n := len(requested) + len(c.Request); n > 255 {
		return fmt.Errorf("%d options to request are too many", n)
	}
	return errors.Join(checkText("hostname", c.Hostname), checkText("vendor class", c.VendorClass), checkSend(c.Send))
}
