//go:build !nosystemd

package services

import (
	"context"
	"errors"
	"slices"

	"github.com/godbus/dbus/v5"
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
	var file string
	err = b.call(ctx, managerPath, managerIface+".GetUnitFileState", []any{u.ID}, &file)
	var answer dbus.Error
	if err != nil && !errors.As(err, &answer) { // an answer: it has no file
		return d, explain(u.ID, err)
	}
	d.AtBoot = !slices.Contains(notAtBoot, file)
	get := func(property string) any {
		var v dbus.Variant
		_ = b.call(ctx, u.Path, "org.freedesktop.DBus.Properties.Get", []any{serviceIface, property}, &v)
		return v.Value()
	}
	switch {
	case d.State == Running:
		pid, _ := get("MainPID").(uint32)
		d.PID = int(pid)
	case u.ActiveState == "failed":
		d.Failure = "it has failed"
		if r, ok := get("Result").(string); ok && r != "success" {
			d.Failure += " (" + r + ")"
		}
		d.Failure += " and systemd does not start it again: see `journalctl -u " + u.ID + "`, then `systemctl restart " + u.ID + "`"
	case u.waitsForRestart():
		d.Failure = "it crashes, and systemd starts it again: see `journalctl -u " + u.ID + "`"
	}
	return d, nil
}
