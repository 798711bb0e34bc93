package conntrackd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// config is what matters here of conntrackd.conf(5).
type config struct {
	sync     bool   // connections are replicated
	socket   string // control socket
	hashSize int    // buckets of a cache
	noCache  bool   // DisableExternalCache On: what the peer sends goes straight to the kernel
}

// defaultHashSize is conntrackd's, if the file has none.
const defaultHashSize = 65536

// maxConfig is far above real files.
const maxConfig = 1 << 20

// parse reads the few clauses that matter. The rest is conntrackd's to judge: what
// it would refuse is not refused here.
func parse(r io.Reader) (config, error) {
	c := config{hashSize: defaultHashSize}
	words := bufio.NewScanner(io.LimitReader(r, maxConfig))
	words.Buffer(nil, maxConfig)
	words.Split(splitWords)
	var blocks []string // the words that opened the blocks we are in
	var clause []string // the words since the last brace or clause that matters
	for words.Scan() {
		word := words.Text()
		switch word {
		case "{":
			name := ""
			if len(clause) > 0 {
				name = clause[len(clause)-1]
			}
			// `Mode FTFW {`, `UDP Default {`: blocks that matter have one word.
			blocks = append(blocks, name)
			c.sync = c.sync || len(blocks) == 1 && name == "Sync"
			clause = nil
			continue
		case "}":
			if len(blocks) == 0 {
				return config{}, fmt.Errorf("a } without its {")
			}
			blocks = blocks[:len(blocks)-1]
			clause = nil
			continue
		}
		if len(clause) > 0 {
			if err := c.set(blocks, clause[len(clause)-1], word); err != nil {
				return config{}, err
			}
		}
		clause = append(clause[:0], word)
	}
	return c, words.Err()
}

func (c *config) set(blocks []string, key, value string) error {
	switch {
	case key == "Path" && len(blocks) > 0 && blocks[len(blocks)-1] == "UNIX":
		value = strings.Trim(value, `"`)
		if !strings.HasPrefix(value, "/") || len(value) > maxSocket {
			return fmt.Errorf("socket path %q is not an absolute path of at most %d bytes", value, maxSocket)
		}
		c.socket = value
	case key == "HashSize":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("HashSize: %w", err)
		}
		if c.hashSize = int(n); n == 0 {
			c.hashSize = defaultHashSize
		}
	case key == "DisableExternalCache":
		on := strings.ToLower(value)
		c.noCache = on == "on" || on == "yes"
	}
	return nil
}

// maxSocket is the longest path of a UNIX socket.
const maxSocket = 107

// splitWords is a bufio.SplitFunc: braces are words, comments run to the end of
// the line, everything else is between spaces.
func splitWords(data []byte, atEOF bool) (advance int, token []byte, err error) {
	start := 0
	for start < len(data) {
		switch data[start] {
		case ' ', '\t', '\r', '\n':
			start++
			continue
		case '{', '}':
			return start + 1, data[start : start+1], nil
		case '#':
			end := bytes.IndexByte(data[start:], '\n')
			if end < 0 {
				if atEOF {
					return len(data), nil, nil
				}
				return start, nil, nil
			}
			start += end
			continue
		}
		if end := bytes.IndexAny(data[start:], " \t\r\n{}#"); end >= 0 {
			return start + end, data[start : start+end], nil
		}
		if atEOF {
			return len(data), data[start:], nil
		}
		break
	}
	return start, nil, nil
}
