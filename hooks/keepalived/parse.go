package keepalived

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
)

// maxDepth bounds blocks in blocks and definitions in definitions, maxFiles what
// files that include each other cost, maxLine what definitions blow up.
const (
	maxDepth = 16
	maxFiles = files.MaxNames
	maxLine  = 64 << 10
)

var errFiles = fmt.Errorf("more than %d files are included", maxFiles)

// parser reads keepalived.conf(5) with what it includes. It is lenient: keepalived
// itself judges the syntax (keepalived -t), here only what can be understood
// matters.
type parser struct {
	tree        files.Tree
	read        []string // names of the files, as they were read
	open        []*block // the innermost last
	files       int
	expands     int    // bytes that definitions may still come to
	id          string // of the configuration, for lines with @
	definitions map[string]string
}

// parse reads a file with what it includes, and tells which files that were.
func parse(tree files.Tree, file, id string) (root *block, read []string, err error) {
	root = &block{file: file}
	p := &parser{tree: tree, open: []*block{root}, files: maxFiles, expands: 4 * files.MaxSize, id: id, definitions: map[string]string{}}
	err = p.file(file)
	return root, p.read, err
}

func (p *parser) file(name string) error {
	if p.files--; p.files < 0 {
		return errFiles
	}
	text, err := p.tree.Read(name)
	if err != nil {
		return err
	}
	p.read = append(p.read, name)
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
		if name, value, ok := strings.Cut(text, "="); ok && strings.HasPrefix(name, "$") {
			if name = strings.TrimSpace(name[1:]); name != "" && len(name) == wordLength(name) {
				p.definitions[name] = strings.TrimSpace(value)
				return nil
			}
		}
		if p.expands < 0 || !strings.ContainsAny(text, "$~") {
			break
		}
		expanded := p.expand(text)
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
		p.words(splitLine(one), file, line)
	}
	return nil
}

// expand puts in what was defined. Of a sequence all lines are alike: one stands
// for them.
func (p *parser) expand(text string) string {
	if strings.HasPrefix(text, "~SEQ(") || strings.HasPrefix(text, "~LST(") {
		if _, rest, ok := strings.Cut(text, ")"); ok {
			text = rest
		}
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "$")
		b.WriteString(before)
		if !ok || b.Len() > maxLine {
			return b.String()
		}
		name := strings.TrimPrefix(rest, "{")
		name = name[:wordLength(name)]
		whole := name
		if strings.HasPrefix(rest, "{") {
			whole = "{" + name + "}"
		}
		if value, known := p.definitions[name]; known && strings.HasPrefix(rest, whole) {
			b.WriteString(value)
			text = rest[len(whole):]
		} else {
			b.WriteByte('$')
			text = rest
		}
	}
}

// wordLength is how much of text is a name.
func wordLength(text string) int {
	at := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if at < 0 {
		return len(text)
	}
	return at
}

// include reads the files of a pattern, relative to the one that names it.
func (p *parser) include(pattern, by string) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(by), pattern)
	}
	if p.files--; p.files < 0 {
		return errFiles
	}
	for _, f := range p.tree.Glob(pattern) {
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

// splitLine splits a line into words, braces and quoted strings.
func splitLine(line string) (words []string) {
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
