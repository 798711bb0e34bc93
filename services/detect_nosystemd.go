//go:build nosystemd

package services

import "log/slog"

// Detect returns the manager of what runs this machine. This build knows only the
// scripts in /etc/init.d.
func Detect(log *slog.Logger) (Manager, error) {
	return NewInit(InitDir, log), nil
}
