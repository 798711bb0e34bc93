//go:build !nosystemd

package services

import (
	"strings"
	"testing"
)

func TestSystemdInspect(t *testing.T) {
	s, f := fakeManager(t)
	up := f.add("up.service", "active")
	up.file, up.props = "enabled", map[string]any{"MainPID": uint32(77)}
	f.add("off.service", "active").file = "disabled"
	f.add("static.service", "inactive").file = "static"
	f.add("runtime.service", "active").file = "enabled-runtime"
	f.add("transient.service", "active")
	failed := f.add("failed.service", "failed")
	failed.file, failed.props = "enabled", map[string]any{"Result": "start-limit-hit"}
	again := f.add("again.service", "activating")
	again.SubState, again.file = "auto-restart", "enabled"
	f.add("masked.service", "inactive").file = "masked"
	for _, c := range []struct {
		name    string
		want    Details
		failure string
	}{
		{"up", Details{Installed: true, AtBoot: true, State: Running, PID: 77}, ""},
		{"off", Details{Installed: true, State: Running}, ""},
		{"static", Details{Installed: true, AtBoot: true}, ""},
		{"runtime", Details{Installed: true, State: Running}, ""},
		{"transient", Details{Installed: true, State: Running}, ""},
		{"masked", Details{Installed: true}, ""},
		{"failed", Details{Installed: true, AtBoot: true}, "it has failed (start-limit-hit) and systemd does not start it again"},
		{"again", Details{Installed: true, AtBoot: true, State: Starting}, "it crashes, and systemd starts it again"},
		{"absent", Details{}, ""},
	} {
		d, err := s.Inspect(t.Context(), c.name)
		if !strings.HasPrefix(d.Failure, c.failure) || (d.Failure == "") != (c.failure == "") {
			t.Errorf("%s: failure %q, want %q", c.name, d.Failure, c.failure)
		}
		if d.Failure = ""; err != nil || d != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, d, err, c.want)
		}
	}
}
