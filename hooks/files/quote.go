package files

import (
	"strings"
	"unicode"
)

// Quote makes text one word of the shell, in a command that is printed to be
// pasted. Control characters, which a terminal would act upon, are replaced: the
// command then names no file.
func Quote(text string) string {
	text = strings.Map(printable, text)
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_/.:,+@%=-", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Lines is text without characters that a terminal would act upon, but for the ends
// of lines.
func Lines(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return printable(r)
	}, text)
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}
