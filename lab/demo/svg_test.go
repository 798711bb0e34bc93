package demo

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestScreenOf(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"one\ntwo\n", "one|two"},
		{"one\r\ntwo", "one|two"},
		{"long\rsh\x1b[K\n", "sh"},
		{"one\ntwo\nthree\n\x1b[2A\rTWO\x1b[K\n", "one|TWO|three"},
		{"\x1b[?25lold\nold\x1b[H\x1b[Jnew", "new"},
		{"\x1b[32mgreen\x1b[0m and not", "<32>green</> and not"},
		{"–▮·", "–▮·"},
	} {
		var got []string
		for _, l := range screenOf(c.text) {
			line, paint := "", ""
			for _, k := range l {
				if k.paint != paint {
					line += map[bool]string{true: "</>", false: "<" + k.paint + ">"}[k.paint == ""]
					paint = k.paint
				}
				line += string(k.char)
			}
			got = append(got, line)
		}
		if got := strings.Join(got, "|"); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// The picture is XML, and has all of the text in it.
func TestSVG(t *testing.T) {
	text := Style{Colour: true, Width: 80}.Draw("a <title> & more", failover().Picture(at(420)))
	var b strings.Builder
	if err := SVG(&b, `"quoted"`, strings.Join(text, "\n")); err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if chars, ok := token.(xml.CharData); ok {
			found.Write(chars)
		}
	}
	for _, want := range []string{"a <title> & more", "MASTER", "203.0.114.82", "no power"} {
		if !strings.Contains(found.String(), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
}
