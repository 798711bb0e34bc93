package services

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// State is what a service manager says about one service.
type State uint8

// The states. Starting and Stopping matter because neither answers both "is it
// up?" and "is it down?": a start that is merely queued must be stopped on a
// backup, and is not yet a running service on a primary.
const (
	Stopped  State = iota // nothing runs and nothing is about to
	Starting              // queued, on its way up, or waiting to be restarted
	Running
	Stopping
)

func (s State) String() string {
	switch s {
	case Stopped:
		return "stopped"
	case Starting:
		return "starting"
	case Running:
		return "running"
	case Stopping:
		return "stopping"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// ErrOff tells that a service was told to start and has nothing to run: it is
// installed, but its own configuration switches it off, as OpenWrt's miniupnpd does
// until the administrator has said otherwise.
var ErrOff = errors.New("its own configuration switches it off")

// ErrNotInstalled tells that there is no service of that name.
var ErrNotInstalled = errors.New("not installed")

// notInstalled is that error for one service; detail says what was looked for.
func notInstalled(name, detail string) error {
	return fmt.Errorf("%s is %w (%s): install it, or take it off the list of services", name, ErrNotInstalled, detail)
}

// Manager drives services by name. It is safe for concurrent use. Every name is
// checked with ValidName before it goes anywhere.
//
// Start and Stop do nothing when the service already is as wanted, and return nil
// only when the manager says that it is. A ctx that ends makes them return
// promptly with its cause; what they asked for may then still happen.
//
// The manager that Detect returns for systemd has one more method, Watch, which
// tells of changes without polling:
//
//	Watch(ctx context.Context, names []string) (<-chan string, error)
type Manager interface {
	// Backend is "systemd" or "init".
	Backend() string
	// Installed reports whether the service can be started at all: it is there and
	// the administrator has not masked it.
	Installed(ctx context.Context, name string) (bool, error)
	// State asks for the service's state. A service that does not exist is an error.
	State(ctx context.Context, name string) (State, error)
	Start(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	Close() error
}

// maxName is far above real names and below what systemd and file systems take,
// with room for a suffix.
const maxName = 128

// ValidName reports why a string cannot be the name of a service. Letters, digits
// and "_-.@:" are allowed, the first a letter or digit: such a name is no option
// to a program, no path, and needs no quoting anywhere.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("empty service name")
	case len(name) > maxName:
		return fmt.Errorf("service name of %d bytes, at most %d are allowed", len(name), maxName)
	case !alphanumeric(name[0]):
		return fmt.Errorf("service name %q does not begin with a letter or digit", name)
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && !strings.ContainsRune("_-.@:", rune(c)) {
			return fmt.Errorf("service name %q contains %q", name, c)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
