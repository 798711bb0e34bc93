package services

import "context"

// Details are what a service manager knows of one service beside its state.
type Details struct {
	Installed bool
	AtBoot    bool // it is started when the machine boots
	State     State
	PID       int // of its main process; 0: none, or the manager does not tell
	// Failure says why the service does not run although it was started: it has
	// crashed, and the manager tries again or has given it up. Empty: no failure.
	Failure string
}

// Inspector is a Manager that tells details. Both of this package are.
type Inspector interface {
	// Inspect asks for the details of a service. One that does not exist is not
	// installed, which is no error.
	Inspect(ctx context.Context, name string) (Details, error)
}

var (
	_ Inspector = (*Init)(nil)
	_ Manager   = (*Init)(nil)
)
