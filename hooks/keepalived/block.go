package keepalived

import "strconv"

// block is a line of keepalived.conf(5) and, where it ends in a brace, the lines
// inside.
type block struct {
	words []string
	file  string
	line  int
	inner []*block
}

func (b *block) word(i int) string {
	if i < len(b.words) {
		return b.words[i]
	}
	return ""
}

// all returns the inner lines with one of the given keywords.
func (b *block) all(keywords ...string) (found []*block) {
	for _, in := range b.inner {
		for _, k := range keywords {
			if in.word(0) == k {
				found = append(found, in)
			}
		}
	}
	return found
}

// value is the first argument of a keyword, and whether it is there.
func (b *block) value(keyword string) (string, bool) {
	lines := b.all(keyword)
	if len(lines) == 0 {
		return "", false
	}
	return lines[len(lines)-1].word(1), true
}

// or is value with a default.
func (b *block) or(keyword, missing string) string {
	if v, ok := b.value(keyword); ok {
		return v
	}
	return missing
}

// firsts are the first words of the lines in blocks with a keyword.
func (b *block) firsts(keyword string) (all []string) {
	for _, in := range b.all(keyword) {
		for _, line := range in.inner {
			if len(line.words) > 0 {
				all = append(all, line.words[0])
			}
		}
	}
	return all
}

func (b *block) where() string { return b.file + ":" + strconv.Itoa(b.line) }
