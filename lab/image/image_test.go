package image

import (
	"strings"
	"testing"
)

func TestPickMirror(t *testing.T) {
	for _, c := range []struct{ name, targets, want string }{
		{"of this machine", "http://sec/debian-security/ bookworm-security main\nhttps://mirror.example/debian/ bookworm main\n", "https://mirror.example/debian"},
		{"another release", "http://mirror.example/debian/ trixie main\n", fallbackMirror},
		{"an unusable method", "cdrom:[x]/ bookworm main\n", fallbackMirror},
		{"nothing", "", fallbackMirror},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pickMirror(c.targets); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFollowOnlyAdvances(t *testing.T) {
	out := "I: Retrieving adduser 3.134\nI: Validating adduser 3.134\nI: Extracting adduser...\n" +
		"I: Unpacking adduser...\nI: Configuring adduser...\nW: Failure while configuring\n"
	at, calls := 0.0, 0
	last := follow(strings.NewReader(out), func(f float64, what string) {
		if f < at || f > 1 {
			t.Errorf("progress went from %v to %v at %q", at, f, what)
		}
		if !strings.HasSuffix(what, " adduser") {
			t.Errorf("progress does not name the package: %q", what)
		}
		at = f
		calls++
	})
	if calls != 4 {
		t.Errorf("got %d steps, want 4", calls)
	}
	if got := last[len(last)-1]; got != "W: Failure while configuring" {
		t.Errorf("last line is %q", got)
	}
}
