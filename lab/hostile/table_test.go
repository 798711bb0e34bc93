package hostile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table of docs/security.md instead of comparing with it")

// row is one attack. run carries it out, fails the test if it has an effect that
// it must not have, and returns what was seen.
type row struct {
	attack string
	run    func(*world) (seen string)
}

const (
	document = "docs/security.md"
	begin    = "<!-- lab/hostile: begin -->\n"
	end      = "<!-- lab/hostile: end -->\n"
)

// TestHostile runs all attacks and compares the table of them with the document.
func TestHostile(t *testing.T) {
	var b strings.Builder
	b.WriteString("| from | attack | what was seen |\n|---|---|---|\n")
	for _, part := range []struct {
		from  string
		limit time.Duration
		setUp func(*world)
		rows  []row
	}{
		{"WAN", 2 * time.Minute, nil, fromWAN},
		{"WAN, both routers", time.Minute, elected, fromWANPair},
		{"LAN", time.Minute, elected, fromLAN},
		{"local user", time.Minute, leased, fromUser},
	} {
		t.Run(part.from, func(t *testing.T) {
			w := build(t, part.limit)
			if part.setUp != nil {
				part.setUp(w)
			}
			for _, r := range part.rows {
				start := time.Now()
				seen := r.run(w)
				t.Logf("%.1f s: %s", time.Since(start).Seconds(), r.attack)
				fmt.Fprintf(&b, "| %s | %s | %s |\n", part.from, r.attack, seen)
			}
		})
	}
	table := b.String()
	t.Log("\n" + table)
	if t.Failed() {
		return
	}
	path := filepath.Join("..", "..", document)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	switch {
	case !ok || !ok2:
		t.Fatalf("%s has no place for the table: %q ... %q", document, begin, end)
	case *update:
		if err := os.WriteFile(path, []byte(head+begin+table+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	case old != table:
		t.Errorf("%s is out of date: go test ./lab/hostile -update", document)
	}
}
