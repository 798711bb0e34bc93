package view

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Screen is what a text is made for.
type Screen struct {
	Width  int  // columns; 0: 80
	Colour bool // the reader is a terminal that wants it
	Now    time.Time
}

// style is an SGR sequence (ECMA-48 8.3.117).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// margin is the width of the labels.
const margin = 10

// page writes labelled lines, none wider than the screen.
type page struct {
	Screen
	w io.Writer
}

func (s Screen) page(w io.Writer) *page {
	if s.Width <= 0 {
		s.Width = 80
	}
	s.Width = max(s.Width, 2*margin)
	return &page{s, w}
}

// line writes head, in a style, and rest behind a label, wrapped into the space
// beside it.
func (p *page) line(label string, st style, head, rest string) {
	head, rest = Clean(head), Clean(rest)
	lines := wrap(head+rest, p.Width-margin)
	todo := len([]rune(head))
	for i, text := range lines {
		if i > 0 {
			label = ""
		}
		n := min(todo, len([]rune(text)))
		r := []rune(text)
		fmt.Fprintf(p.w, "%s%s%s\n", p.paint(dim, fmt.Sprintf("%-*s", margin, label)), p.paint(st, string(r[:n])), string(r[n:]))
		todo -= n
		if todo > 0 {
			todo-- // the space at which the line was broken
		}
	}
}

func (p *page) gap() { fmt.Fprintln(p.w) }

func (p *page) paint(st style, text string) string {
	if !p.Colour || st == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// wrap breaks text at its spaces into lines of at most width columns, and where a
// word is longer than that within it.
func wrap(text string, width int) (lines []string) {
	rest := []rune(strings.TrimRight(text, " "))
	for len(rest) > width {
		at := width
		for at > 0 && rest[at] != ' ' {
			at--
		}
		if at == 0 {
			lines, rest = append(lines, string(rest[:width])), rest[width:]
			continue
		}
		lines, rest = append(lines, strings.TrimRight(string(rest[:at]), " ")), rest[at+1:]
	}
	return append(lines, string(rest))
}

// Clean keeps text that others have written, a keeper or a configuration, from
// steering the terminal.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		if unicode.IsSpace(r) {
			return ' '
		}
		return unicode.ReplacementChar
	}, text)
}

// Short rounds a duration to what a person reads: 3.2ms, 1.50s, 2h3m.
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Short(-d)
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return Long(d)
}

// Long rounds a duration to seconds, and to minutes from a day on: 5s, 2h3m,
// 3d4h.
func Long(d time.Duration) string {
	if d >= 24*time.Hour {
		d = d.Round(time.Minute)
		days, rest := d/(24*time.Hour), d%(24*time.Hour)
		if rest < time.Hour {
			return fmt.Sprintf("%dd", days)
		}
		return fmt.Sprintf("%dd%dh", days, rest/time.Hour)
	}
	text := d.Round(time.Second).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
