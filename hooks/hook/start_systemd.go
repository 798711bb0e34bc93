//go:build !nosystemd

package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/services/systemd"
)

// startUnit starts the installed service, or a transient one: a plain child of
// a hook would die with keepalived.service (KillMode=control-group). It reports
// false where systemd does not run the machine.
func (s Starter) startUnit(ctx context.Context) (bool, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false, nil
	}
	conn, err := systemd.Dial(ctx, systemd.PrivateSocket)
	if err != nil {
		return false, fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	if s.Installed {
		_, err := conn.Start(ctx, "wanfail.service", "replace", nil)
		if err == nil {
			return true, nil
		}
		if !isDBusError(err, "NoSuchUnit") {
			return false, fmt.Errorf("start wanfail.service: %w", err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return false, err
	}
	const unit = "wanfail-keeper.service"
	_ = conn.ResetFailed(ctx, unit) // a failed one would keep its name taken
	_, err = conn.StartTransient(ctx, unit, "replace", []dbus.Property{
		dbus.PropDescription("wanfail keeper (transient)"),
		dbus.PropExecStart(append([]string{exe}, s.Args...), false),
		{Name: "Restart", Value: godbus.MakeVariant("always")},
		{Name: "RestartUSec", Value: godbus.MakeVariant(uint64(100_000))},
		{Name: "RestartPreventExitStatus", Value: godbus.MakeVariant(struct{ Codes, Signals []int32 }{[]int32{0, 2}, []int32{}})},
		// As in packaging/systemd/wanfail.service.
		{Name: "Type", Value: godbus.MakeVariant("notify")},
		{Name: "WatchdogUSec", Value: godbus.MakeVariant(uint64(30_000_000))},
		{Name: "WatchdogSignal", Value: godbus.MakeVariant(int32(unix.SIGKILL))},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, nil)
	if err != nil && !isDBusError(err, "UnitExists") {
		return false, fmt.Errorf("start transient unit %s: %w", unit, err)
	}
	return true, nil
}

func isDBusError(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && strings.HasSuffix(e.Name, "."+name)
}
