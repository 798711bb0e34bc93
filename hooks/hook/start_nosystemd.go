//go:build nosystemd

package hook

import "context"

// startUnit reports that systemd is not compiled in.
func (s Starter) startUnit(context.Context) (bool, error) { return false, nil }
