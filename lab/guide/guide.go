// Package guide reads the commands out of a document, so that a test can type
// them: what a reader would paste, and nothing else.
package guide

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Block is a fenced block of shell commands.
type Block struct {
	Section string // the heading of the second level above it, without the ##
	// Where it is to be typed, from a comment in its first line that begins with
	// "# on": "on ar1", "on the primary". Empty: on both routers.
	Where string
	Text  string
}

var (
	heading = regexp.MustCompile("^## +(.*)$")
	fence   = regexp.MustCompile("^( *)```(\\w*) *$")
)

// Blocks are those of a document that are marked as sh, in order.
func Blocks(file string) (blocks []Block, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	section, lang, indent := "", "", ""
	var text []string
	inside := false
	for n, line := range strings.Split(string(raw), "\n") {
		switch f := fence.FindStringSubmatch(line); {
		case f != nil && !inside:
			inside, indent, lang, text = true, f[1], f[2], nil
		case f != nil && f[1] == indent && f[2] == "":
			inside = false
			if lang == "sh" {
				blocks = append(blocks, newBlock(section, text))
			}
		case inside:
			// Blank lines of an indented block may have lost their indentation.
			rest, ok := strings.CutPrefix(line, indent)
			if !ok && strings.TrimSpace(line) != "" {
				return nil, fmt.Errorf("%s:%d: a line of a block is indented less than the block", file, n+1)
			}
			text = append(text, rest)
		default:
			if h := heading.FindStringSubmatch(line); h != nil {
				section = h[1]
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("%s: the last block has no end", file)
	}
	return blocks, nil
}

func newBlock(section string, text []string) Block {
	b := Block{Section: section, Text: strings.Join(text, "\n") + "\n"}
	if len(text) > 0 {
		if where, ok := strings.CutPrefix(text[0], "# on "); ok {
			b.Where = "on " + where
		}
	}
	return b
}

// In are the blocks below one such heading. None is an error: a document that was
// rearranged must not make its test pass.
func In(file, section string) ([]Block, error) {
	all, err := Blocks(file)
	if err != nil {
		return nil, err
	}
	var blocks []Block
	for _, b := range all {
		if b.Section == section {
			blocks = append(blocks, b)
		}
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s has no commands below the heading %q", file, section)
	}
	return blocks, nil
}
