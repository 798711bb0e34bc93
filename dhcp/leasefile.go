package dhcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	leaseFileVersion = 1
	maxLeaseFile     = 64 << 10 // a lease file is a few hundred bytes
)

// leaseFile is the content of a lease file. It names the client that got the lease,
// since a lease belongs to a MAC and client identifier, and the boot that its
// times belong to.
type leaseFile struct {
	Version  int    `json:"version"`
	Boot     string `json:"boot"`
	MAC      string `json:"mac"`
	ClientID []byte `json:"client_id,omitempty"`
	Lease    Lease  `json:"lease"`

	thisBoot bool
}

// ErrOtherBoot is returned for a lease that another boot of the machine got: how
// long it is valid cannot be known.
var ErrOtherBoot = errors.New("the lease is from another boot")

// ReadLease reads the remembered lease from a lease file, for status. It may
// have expired: see Lease.Remaining. The error is fs.ErrNotExist without a
// remembered lease.
func ReadLease(f File) (*Lease, error) {
	m, err := readLeaseFile(f, BootTime())
	if err != nil {
		return nil, err
	}
	if !m.thisBoot {
		return nil, fmt.Errorf("read lease file %s: %w", f, ErrOtherBoot)
	}
	return &m.Lease, nil
}

// recall reads the lease that this client remembers, nil if there is none.
func (c *Config) recall(now time.Duration) (*leaseFile, error) {
	if c.LeaseFile == nil {
		return nil, nil
	}
	m, err := readLeaseFile(c.LeaseFile, now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.MAC != c.MAC.String() || !bytes.Equal(m.ClientID, c.ClientID) {
		return nil, errors.New("it belongs to another MAC or client identifier")
	}
	return m, nil
}

func readLeaseFile(f File, now time.Duration) (*leaseFile, error) {
	b, err := f.Read(maxLeaseFile)
	if err != nil {
		return nil, fmt.Errorf("read lease file: %w", err)
	}
	boot, err := f.Boot()
	if err != nil {
		return nil, err
	}
	m, err := parseLeaseFile(b, boot)
	if err != nil {
		return nil, fmt.Errorf("read lease file %s: %w", f, err)
	}
	if m.thisBoot && m.Lease.Acquired > now {
		return nil, fmt.Errorf("read lease file %s: the lease is from the future", f)
	}
	return m, nil
}

// UnmarshalJSON takes valid leases only: they come from files, and a file that
// somebody has damaged must not configure a network or reach a script.
func (l *Lease) UnmarshalJSON(b []byte) error {
	type plain Lease
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	if err := (*Lease)(&p).validate(); err != nil {
		return err
	}
	*l = Lease(p)
	return nil
}

// parseLeaseFile checks the content of a lease file as strictly as a packet.
func parseLeaseFile(b []byte, boot string) (*leaseFile, error) {
	var m leaseFile
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m.Version != leaseFileVersion {
		return nil, fmt.Errorf("version %d is not %d", m.Version, leaseFileVersion)
	}
	if err := m.Lease.validate(); err != nil { // there may be none
		return nil, err
	}
	m.thisBoot = m.Boot == boot
	return &m, nil
}

// remember writes the lease file.
func (c *Config) remember(l *Lease) error {
	boot, err := c.LeaseFile.Boot()
	if err != nil {
		return err
	}
	m := leaseFile{Version: leaseFileVersion, Boot: boot, MAC: c.MAC.String(), ClientID: c.ClientID, Lease: *l}
	b, err := json.MarshalIndent(&m, "", "\t")
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	if err := c.LeaseFile.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write lease file: %w", err)
	}
	return nil
}

// forget removes the lease file.
func (c *Config) forget() error {
	if c.LeaseFile == nil {
		return nil
	}
	if err := c.LeaseFile.Remove(); err != nil {
		return fmt.Errorf("forget lease: %w", err)
	}
	return nil
}
