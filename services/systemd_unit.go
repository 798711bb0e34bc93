//go:build !nosystemd

package services

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
)

// unit is an entry of systemd's ListUnitsByNames.
type unit dbus.UnitStatus

// state folds the unit's state and its queued job into one answer.
//
// "activating" includes a unit that crashed and waits for its automatic restart:
// nothing runs, yet something will. "failed" is as stopped as "inactive". A job in
// the queue outweighs "inactive" and "active": at boot a start may wait for its
// dependencies for long, and stopping such a unit means to cancel that job.
func (u unit) state() State {
	switch u.ActiveState {
	case "active", "reloading", "refreshing":
		if u.JobId != 0 && u.JobType == "stop" {
			return Stopping
		}
		return Running
	case "activating":
		return Starting
	case "deactivating":
		return Stopping
	}
	// inactive, failed, maintenance
	if u.JobId != 0 && u.JobType != "stop" && u.JobType != "nop" {
		return Starting
	}
	return Stopped
}

// waitsForRestart reports whether the unit is in its RestartSec pause.
func (u unit) waitsForRestart() bool { return strings.HasPrefix(u.SubState, "auto-restart") }

// startable says why a unit cannot be started, and what to do about it.
func (u unit) startable() error {
	switch u.LoadState {
	case "masked":
		return fmt.Errorf("%s is masked: `systemctl unmask %s`, or take it off the list of services", u.Name, u.Name)
	case "not-found":
		return notInstalled(u.Name, "no such unit")
	case "bad-setting", "error":
		return fmt.Errorf("%s cannot be loaded (%s): see `systemctl status %s`", u.Name, u.LoadState, u.Name)
	}
	return nil
}

// unitName turns a service's name into a unit's: .service unless it names another
// kind of unit that can be started and stopped.
func unitName(name string) (string, error) {
	if err := ValidName(name); err != nil {
		return "", err
	}
	for _, suffix := range []string{".service", ".socket", ".timer", ".path", ".target"} {
		if strings.HasSuffix(name, suffix) && name != suffix {
			return name, nil
		}
	}
	return name + ".service", nil
}
