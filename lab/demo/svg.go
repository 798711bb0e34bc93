package demo

import (
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// cell is one character of a screen, with the SGR sequence that paints it.
type cell struct {
	char  rune
	paint string
}

// control is a CSI sequence (ECMA-48 5.4): its parameters, and what it does.
var control = regexp.MustCompile("^\x1b\\[([0-9;?]*)([@-~])")

// screenOf is what a terminal shows after text: characters, colours, the cursor's
// moves up and home and erasure of a line's rest are understood, which is all
// that the demo and `wanfail status` send.
func screenOf(text string) (lines [][]cell) {
	row, col, paint := 0, 0, ""
	for text != "" {
		if m := control.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "m":
				paint = strings.TrimPrefix(m[1], "0")
			case "A":
				row = max(0, row-max(n, 1))
			case "H":
				row, col = 0, 0
			case "K":
				if row < len(lines) && col < len(lines[row]) {
					lines[row] = lines[row][:col]
				}
			case "J":
				lines = lines[:min(row, len(lines))]
			}
			continue
		}
		var char rune
		for _, char = range text {
			break
		}
		text = text[len(string(char)):]
		switch char {
		case '\r':
			col = 0
		case '\n':
			row, col = row+1, 0
		default:
			for len(lines) <= row {
				lines = append(lines, nil)
			}
			for len(lines[row]) <= col {
				lines[row] = append(lines[row], cell{char: ' '})
			}
			lines[row][col] = cell{char, paint}
			col++
		}
	}
	return lines
}

// ink is how SGR sequences look on a dark ground.
var ink = map[string]string{
	bold: ` font-weight="bold"`, dim: ` opacity="0.6"`,
	red: ` fill="#f97583"`, green: ` fill="#85e89d"`, yellow: ` fill="#ffea7f"`, cyan: ` fill="#73e3ff"`,
}

// SVG draws what a terminal shows after text.
func SVG(w io.Writer, title, text string) error {
	const (
		wide, high = 7.8, 17 // of a character, at 13 pixels
		margin     = 12
	)
	lines, columns := screenOf(text), 0
	for _, l := range lines {
		columns = max(columns, len(l))
	}
	var b strings.Builder
	escape := func(s string) string {
		var e strings.Builder
		_ = xml.EscapeText(&e, []byte(s)) // a Builder takes all
		return e.String()
	}
	width, height := 2*margin+int(wide*float64(columns)), 2*margin+high*len(lines)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="%[3]s">`+"\n", width, height, escape(title))
	fmt.Fprintln(&b, `<rect width="100%" height="100%" rx="6" fill="#1f2428"/>`)
	fmt.Fprintln(&b, `<g font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="13" fill="#d1d5da" xml:space="preserve">`)
	for row, l := range lines {
		for start := 0; start < len(l); {
			end := start
			var run strings.Builder
			for ; end < len(l) && l[end].paint == l[start].paint; end++ {
				run.WriteRune(l[end].char)
			}
			// Its place and length are given for each run: fonts differ.
			if s := run.String(); strings.TrimSpace(s) != "" {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
					margin+wide*float64(start), margin+13+high*row, wide*float64(end-start), ink[l[start].paint], escape(s))
			}
			start = end
		}
	}
	fmt.Fprintln(&b, "</g></svg>")
	_, err := io.WriteString(w, b.String())
	return err
}
