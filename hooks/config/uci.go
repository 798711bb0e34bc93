package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Section is one `config TYPE 'NAME'` block of a UCI file.
type Section struct {
	Type, Name string
	Line       int
	Options    []Option
}

// Option is one `option NAME 'VALUE'` or `list NAME 'VALUE'` line.
type Option struct {
	Name, Value string
	List        bool
	Line        int
}

// SyntaxError is a line that is no UCI.
type SyntaxError struct {
	Line int
	Msg  string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// maxLine is far beyond any real line; it bounds what a wrong file costs.
const maxLine = 4096

// Parse reads UCI syntax as libuci's uci_import does: keywords config, option,
// list and package; bare, 'single' and "double" quoted words, where only double
// quotes and bare words know the backslash; comments from # at the start of a
// word. Values that span lines are refused: none of wanfail's do.
func Parse(r io.Reader) ([]Section, error) {
	var sections []Section
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, maxLine), maxLine)
	line := 0
	for scan.Scan() {
		line++
		words, err := split(strings.TrimSuffix(scan.Text(), "\r"))
		if err != nil {
			return nil, &SyntaxError{line, err.Error()}
		}
		if len(words) == 0 {
			continue
		}
		if sections, err = addLine(sections, words, line); err != nil {
			return nil, &SyntaxError{line, err.Error()}
		}
	}
	if errors.Is(scan.Err(), bufio.ErrTooLong) {
		return nil, &SyntaxError{line + 1, fmt.Sprintf("line is longer than %d bytes", maxLine)}
	}
	return sections, scan.Err()
}

// addLine adds the words of one line to the sections so far.
func addLine(sections []Section, words []string, line int) ([]Section, error) {
	keyword, args := words[0], words[1:]
	switch keyword {
	case "config":
		if len(args) < 1 || len(args) > 2 {
			return nil, errors.New("want: config TYPE ['NAME']")
		}
		s := Section{Type: args[0], Line: line}
		if len(args) == 2 {
			s.Name = args[1]
		}
		return append(sections, s), nil
	case "option", "list":
		if len(args) != 2 {
			return nil, fmt.Errorf("want: %s NAME 'VALUE'", keyword)
		}
		if len(sections) == 0 {
			return nil, fmt.Errorf("%s %q stands before the first section; want: config TYPE ['NAME']", keyword, args[0])
		}
		s := &sections[len(sections)-1]
		s.Options = append(s.Options, Option{Name: args[0], Value: args[1], List: keyword == "list", Line: line})
		return sections, nil
	case "package":
		if len(args) != 1 || len(sections) > 0 {
			return nil, errors.New("want: package NAME, once, at the top")
		}
		return sections, nil
	default:
		return nil, fmt.Errorf("unknown keyword %q; want config, option or list", keyword)
	}
}

// split cuts a line into its words.
func split(line string) ([]string, error) {
	if !utf8.ValidString(line) {
		return nil, errors.New("text is not UTF-8")
	}
	var words []string
	rest := strings.TrimLeft(line, " \t")
	for rest != "" && rest[0] != '#' {
		word, after, err := nextWord(rest)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		rest = strings.TrimLeft(after, " \t")
	}
	return words, nil
}

// nextWord reads one word, which may be made of bare and quoted parts.
func nextWord(s string) (word, rest string, err error) {
	var b strings.Builder
	for s != "" && s[0] != ' ' && s[0] != '\t' {
		switch c := s[0]; c {
		case '\'':
			text, after, ok := strings.Cut(s[1:], "'")
			if !ok {
				return "", "", errors.New("single quote is not closed")
			}
			b.WriteString(text)
			s = after
		case '"':
			if s, err = doubleQuoted(&b, s[1:]); err != nil {
				return "", "", err
			}
		case '\\':
			if len(s) < 2 {
				return "", "", errors.New("backslash at the end of the line: values do not span lines")
			}
			b.WriteByte(s[1])
			s = s[2:]
		default:
			if c < ' ' || c == 0x7f {
				return "", "", fmt.Errorf("control character %#02x", c)
			}
			b.WriteByte(c)
			s = s[1:]
		}
	}
	return b.String(), s, nil
}

// doubleQuoted reads up to the closing quote and returns what follows it.
func doubleQuoted(b *strings.Builder, s string) (rest string, err error) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return s[i+1:], nil
		case '\\':
			if i++; i == len(s) {
				return "", errors.New("backslash at the end of the line: values do not span lines")
			}
		}
		b.WriteByte(s[i])
	}
	return "", errors.New("double quote is not closed")
}
