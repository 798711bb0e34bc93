// Package view puts what a keeper says into words for a person at a terminal.
package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// Answer tells what became of a wish, with how long each part took.
func Answer(w io.Writer, a hooks.Answer) {
	switch {
	case a.Outcome == hooks.Superseded:
		fmt.Fprintf(w, "superseded: %s came later (%s)\n", a.By, a.Role)
		return
	case a.Already && a.Outcome == hooks.Reached:
		fmt.Fprintf(w, "already %s\n", a.Role)
		return
	case a.Already:
		fmt.Fprintf(w, "already %s, but:\n", a.Role)
	case a.Outcome == hooks.Degraded:
		fmt.Fprintf(w, "%s, degraded, after %s\n", a.Role, Short(a.Took))
	default:
		fmt.Fprintf(w, "%s after %s\n", a.Role, Short(a.Took))
	}
	for _, p := range a.Phases {
		note := p.Detail
		if p.Error != "" {
			note = "failed: " + p.Error
		}
		fmt.Fprintf(w, "  %-24s %10s   %s\n", p.Name, Short(p.Took), note)
	}
	for _, p := range a.Problems {
		fmt.Fprintf(w, "  problem: %s\n", p)
	}
}

// Report tells how a router stands.
func Report(w io.Writer, r hooks.Report) {
	fmt.Fprintf(w, "role      %s since %s (%s)\n", r.Role, r.Since.Format(time.DateTime), r.By)
	for _, n := range r.WANs {
		fmt.Fprintf(w, "wan       %s on %s, %s: %s\n", n.Name, n.Parent, n.MAC, n.State)
		if n.Address.IsValid() {
			fmt.Fprintf(w, "          %s via %s, lease of %s, %s left\n", n.Address, n.Gateway, n.Server, lease(n))
		}
		if n.Error != "" {
			fmt.Fprintf(w, "          problem: %s\n", n.Error)
		}
		if n.Diagnosis != "" {
			fmt.Fprintf(w, "          DHCP: %s\n", n.Diagnosis)
		}
	}
	for _, s := range r.Services {
		state := "stopped"
		if s.Running {
			state = "running"
		}
		if s.Error != "" {
			state += ", problem: " + s.Error
		}
		fmt.Fprintf(w, "service   %s (%s): %s\n", s.Name, s.Backend, state)
	}
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "warning   %s\n", text)
	}
}

func lease(w hooks.WAN) string {
	if w.LeaseSeconds < 0 {
		return "forever"
	}
	return Short(time.Duration(w.LeaseSeconds) * time.Second)
}

// Short rounds a duration to what a person reads.
func Short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
}
