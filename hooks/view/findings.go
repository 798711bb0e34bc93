package view

import (
	"fmt"
	"io"
	"strings"
)

// Finding is one of doctor's.
type Finding struct{ ID, Severity, Found, Why, Fix string }

// Findings prints what doctor found.
func (s Screen) Findings(w io.Writer, all []Finding) {
	p := s.page(w)
	count := map[string]int{}
	for _, f := range all {
		st := yellow
		if f.Severity == "error" {
			st = red
		}
		count[f.Severity]++
		p.line(f.Severity, st, f.ID, "")
		p.line("  found", plain, "", f.Found)
		p.line("  why", plain, "", f.Why)
		if strings.HasPrefix(f.Fix, "by hand: ") {
			p.line("  fix", bold, f.Fix, "")
		} else { // not broken into lines: it is for the shell
			fmt.Fprintf(w, "%s%s\n", p.paint(dim, fmt.Sprintf("%-*s", margin, "  fix")), p.paint(bold, Clean(f.Fix)))
		}
		p.gap()
	}
	if len(all) == 0 {
		fmt.Fprintln(w, p.paint(green, "nothing found"))
		return
	}
	fmt.Fprintf(w, "errors %d, warnings %d\n", count["error"], count["warning"])
}
