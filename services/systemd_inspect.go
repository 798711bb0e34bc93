//go:build !nosystemd

package services

import (
	"context"
	"slices"
)

var (
	_ Inspector = (*systemd)(nil)
	_ Manager   = (*systemd)(nil)
)

// notAtBoot are the states of a unit's file in which no boot starts the unit
// (systemctl(1), is-enabled). In all others it is enabled, or made to be started
// by something else: static, alias, indirect, generated.
var notAtBoot = []string{"", "bad", "disabled", "masked", "masked-runtime", "enabled-runtime", "linked", "linked-runtime", "transient"}

// Inspect implements Inspector.
func (s *systemd) Inspect(ctx context.Context, name string) (Details, error) {
	u, err := s.find(ctx, name)
	if err != nil {
		return Details{}, err
	}
	d := Details{Installed: u.LoadState != "not-found", State: u.state()}
	if !d.Installed {
		return d, nil
	}
	b, err := s.connected(ctx)
	if err != nil {
		return d, err
	}
	get := func(kind, name string) any { return property(ctx, b, u.Name, kind, name) }
	file, _ := get("Unit", "UnitFileState").(string)
	d.AtBoot = !slices.Contains(notAtBoot, file)
	switch {
	case d.State == Running:
		pid, _ := get("Service", "MainPID").(uint32)
		d.PID = int(pid)
	case u.ActiveState == "failed":
		d.Failure = "it has failed"
		if r, ok := get("Service", "Result").(string); ok && r != "success" {
			d.Failure += " (" + r + ")"
		}
		d.Failure += " and systemd does not start it again: see `journalctl -u " + u.Name + "`, then `systemctl restart " + u.Name + "`"
	case u.waitsForRestart():
		d.Failure = "it crashes, and systemd starts it again: see `journalctl -u " + u.Name + "`"
	}
	return d, nil
}
