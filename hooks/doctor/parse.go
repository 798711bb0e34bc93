package doctor

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// maxDepth bounds blocks in blocks and definitions in definitions, maxFiles what
// files that include each other cost, maxLine what definitions blow up.
const (
	maxDepth = 16
	maxFiles = 256
	maxLine  = 64 << 10
)

var errFiles = fmt.Errorf("more than %d files are included", maxFiles)

// parser reads keepalived.conf(5) with what it includes. It is lenient: keepalived
// itself judges the syntax (keepalived -t), here only what can be understood
// matters.
type parser struct {
	s           *System
	open        []*block // the innermost last
	files       int
	expands     int    // bytes that definitions may still come to
	id          string // of the configuration, for lines with @
	definitions map[string]string
}

func (s *System) parseKeepalived(file, id string) (*block, error) {
	root := &block{file: file}
	p := &parser{s: s, open: []*block{root}, files: maxFiles, expands: 4 * maxText, id: id, definitions: map[string]string{}}
	return root, p.file(file)
}

func (p *parser) file(name string) error {
	if p.files--; p.files < 0 {
		return errFiles
	}
	text, err := p.s.read(name)
	if err != nil {
		return err
	}
	var begun string
	for i, line := range strings.Split(string(text), "\n") {
		line = begun + uncomment(line)
		if before, goesOn := strings.CutSuffix(line, "\\"); goesOn && len(line) < maxLine {
			if begun = before + " "; strings.HasPrefix(begun, "$") { // a definition may be of several lines
				begun = before + "\n"
			}
			continue
		}
		begun = ""
		if err := p.logical(line, name, i+1); err != nil {
			return err
		}
	}
	return nil
}

var (
	definition = regexp.MustCompile(`(?s)^\$([A-Za-z_]\w*)\s*=\s*(.*)$`)
	reference  = regexp.MustCompile(`\$(\w+|\{\w+\})`)
	sequence   = regexp.MustCompile(`^~(SEQ|LST)\([^)]*\)\s*`) // its lines are alike: one stands for all
)

// logical handles a line whose continuations have been joined.
func (p *parser) logical(text, file string, line int) error {
	for range maxDepth {
		text = strings.TrimSpace(text)
		if condition, ok := strings.CutPrefix(text, "@"); ok {
			id, rest, _ := strings.Cut(strings.ReplaceAll(condition, "\t", " "), " ")
			not := strings.HasPrefix(id, "^")
			if (strings.TrimPrefix(id, "^") == p.id) == not {
				return nil
			}
			text = strings.TrimSpace(rest)
		}
		if d := definition.FindStringSubmatch(text); d != nil {
			p.definitions[d[1]] = d[2]
			return nil
		}
		if p.expands < 0 || !strings.ContainsAny(text, "$~") {
			break
		}
		expanded := reference.ReplaceAllStringFunc(sequence.ReplaceAllString(text, ""), func(r string) string {
			if value, ok := p.definitions[strings.Trim(r, "${}")]; ok {
				return value
			}
			return r
		})
		if p.expands -= len(expanded); expanded == text || len(expanded) > maxLine {
			break
		}
		text = expanded
	}
	for _, one := range strings.Split(text, "\n") {
		if fields := strings.Fields(one); len(fields) == 2 && strings.HasPrefix(one, "include") {
			if err := p.include(strings.Trim(fields[1], `"`), file); err != nil {
				return err
			}
			continue
		}
		p.words(splitKeepalived(one), file, line)
	}
	return nil
}

// include reads the files of a pattern, relative to the one that names it.
func (p *parser) include(pattern, by string) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(by), pattern)
	}
	if p.files--; p.files < 0 {
		return errFiles
	}
	for _, f := range p.s.glob(pattern) {
		// What cannot be read is left out, as by keepalived: a folder, say.
		if err := p.file(f); errors.Is(err, errFiles) {
			return err
		}
	}
	return nil
}

// words adds a line to the innermost of the open blocks.
func (p *parser) words(all []string, file string, line int) {
	var words []string
	add := func() *block {
		last := p.open[len(p.open)-1]
		if len(words) > 0 {
			last.inner = append(last.inner, &block{words: words, file: file, line: line})
			words = nil
		}
		return last
	}
	for _, w := range all {
		switch w {
		case "{": // after its name, which may stand on the line before
			last := add()
			if len(last.inner) == 0 {
				last.inner = append(last.inner, &block{file: file, line: line})
			}
			if len(p.open) < maxDepth {
				p.open = append(p.open, last.inner[len(last.inner)-1])
			}
		case "}":
			add()
			if len(p.open) > 1 {
				p.open = p.open[:len(p.open)-1]
			}
		default:
			words = append(words, w)
		}
	}
	add()
}

// uncomment removes a comment, which # or ! begins outside of quotes.
func uncomment(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++
		case !quoted && (c == '#' || c == '!'):
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// splitKeepalived splits a line into words, braces and quoted strings.
func splitKeepalived(line string) (words []string) {
	var word strings.Builder
	quoted, some := false, false
	end := func() {
		if some {
			words = append(words, word.String())
		}
		word.Reset()
		some = false
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, some = !quoted, true
		case quoted:
			word.WriteRune(r)
		case r == ' ' || r == '\t' || r == '\r':
			end()
		case r == '{' || r == '}':
			end()
			words = append(words, string(r))
		default:
			word.WriteRune(r)
			some = true
		}
	}
	end()
	return words
}
