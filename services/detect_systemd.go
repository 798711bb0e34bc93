//go:build !nosystemd

package services

import (
	"log/slog"
	"os"

	bus "github.com/wanfail/wanfail/services/systemd"
)

// Detect returns the manager of what runs this machine: systemd where it does
// (the test of sd_booted(3)), else the scripts in /etc/init.d. It contacts
// nothing: a manager that does not answer is an error of the calls to it.
func Detect(log *slog.Logger) (Manager, error) {
	if info, err := os.Lstat("/run/systemd/system"); err == nil && info.IsDir() {
		return newSystemd(bus.PrivateSocket, log), nil
	}
	return NewInit(InitDir, log), nil
}
