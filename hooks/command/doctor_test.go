package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Programs are found where the system has them, not where the caller's PATH says,
// and see none of its environment.
func TestRunHasItsOwnPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"env", "wanfail-test-tool"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho \"the caller's\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LD_LIBRARY_PATH", dir)
	out, err := run(t.Context(), "env")
	if err != nil || strings.Contains(string(out), dir) || strings.Contains(string(out), "the caller's") || !strings.Contains(string(out), "PATH=/usr/sbin:") {
		t.Errorf("env: %s, %v", out, err)
	}
	if out, err := run(t.Context(), "wanfail-test-tool"); err == nil {
		t.Errorf("a program of the caller's was run: %s", out)
	}
}

func TestEscaped(t *testing.T) {
	for text, want := range map[string]string{"a\nb é": "a\nb é", "a\u009b2J": `a\u009b2J`, "\u202e": `\u202e`, "\U000e0001": `\udb40\udc01`} {
		if got := escaped([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
