package view

import (
	"fmt"
	"io"

	"github.com/wanfail/wanfail/hooks/control"
)

// Answer prints the outcome of a role request, with how long each part took.
func Answer(w io.Writer, a control.Answer) {
	switch {
	case a.Outcome == control.Superseded:
		fmt.Fprintf(w, "superseded: %s came later (%s)\n", Clean(a.By), a.Role)
		return
	case a.Already && a.Outcome == control.Reached:
		fmt.Fprintf(w, "already %s\n", a.Role)
		return
	case a.Already:
		fmt.Fprintf(w, "already %s, but:\n", a.Role)
	case a.Outcome == control.Degraded:
		fmt.Fprintf(w, "%s, degraded, after %s\n", a.Role, Short(a.Took))
	default:
		fmt.Fprintf(w, "%s after %s\n", a.Role, Short(a.Took))
	}
	for _, p := range a.Phases {
		note := p.Detail
		if p.Error != "" {
			note = "failed: " + p.Error
		}
		fmt.Fprintf(w, "  %-24s %10s   %s\n", Clean(p.Name), Short(p.Took), Clean(note))
	}
	for _, p := range a.Problems {
		fmt.Fprintf(w, "  problem: %s\n", Clean(p))
	}
}
