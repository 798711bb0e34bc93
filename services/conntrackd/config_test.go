package conntrackd

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const typical = `# Sync {
Sync {
	Mode FTFW {
		DisableExternalCache Off   # On
	}
	UDP Default {
		IPv4_address 192.168.100.1
		Port 3780
	}
}
General{
	HashSize 32768
	# Path /no
	LogFile On
	UNIX { Path "/var/run/conntrackd.ctl"
		Backlog 20 }
	Filter From Userspace { Protocol Accept { TCP } }
}
`

func TestParse(t *testing.T) {
	want := config{sync: true, socket: "/var/run/conntrackd.ctl", hashSize: 32768}
	for name, c := range map[string]struct {
		text string
		want config
	}{
		"typical":       {typical, want},
		"no cache":      {strings.Replace(typical, "Off", "yes", 1), config{true, want.socket, 32768, true}},
		"default size":  {strings.Replace(typical, "HashSize 32768", "", 1), config{true, want.socket, 65536, false}},
		"size 0":        {strings.Replace(typical, "32768", "0", 1), config{true, want.socket, 65536, false}},
		"statistics":    {"General { UNIX { Path /x } }\nStats {\nLogFile on\n}", config{false, "/x", 65536, false}},
		"empty":         {"", config{hashSize: 65536}},
		"comment alone": {"# no newline", config{hashSize: 65536}},
		"other Path":    {"Helper { Path /x }", config{hashSize: 65536}},
		"deep Sync":     {"General { Sync { } }", config{hashSize: 65536}},
		"no final newline": {
			"Sync { }\nGeneral { UNIX { Path /a } HashSize 7 }", config{true, "/a", 7, false},
		},
	} {
		if got, err := parse(strings.NewReader(c.text)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, bad := range []string{
		"}", "HashSize many", "HashSize -1", "HashSize 99999999999999999999", "UNIX { Path run.ctl }",
		"UNIX { Path /" + strings.Repeat("x", 107) + " }",
	} {
		if got, err := parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(typical)
	f.Add("Sync{UNIX{Path /x}}#")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(strings.NewReader(text))
		if err == nil && c.socket != "" && !filepath.IsAbs(c.socket) {
			t.Errorf("socket %q", c.socket)
		}
		if err == nil && c.hashSize <= 0 {
			t.Errorf("hash size %d", c.hashSize)
		}
	})
}

func TestOpen(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	open := func(text string) (*Daemon, error) {
		file := filepath.Join(dir, "conntrackd.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Open(file, log)
	}
	if _, err := Open(filepath.Join(dir, "none"), log); !errors.Is(err, ErrNone) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := open("General { }\nStats { }"); !errors.Is(err, ErrNone) {
		t.Errorf("statistics only: %v", err)
	}
	if _, err := open("Sync { }"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("without a socket: %v", err)
	}
	d, err := open(typical)
	if err != nil || d.Problem() != "" {
		t.Errorf("typical: %v, %v", d, err)
	}
	d, err = open(strings.Replace(typical, "32768", "8192", 1))
	if err != nil || !strings.Contains(d.Problem(), "HashSize 8192") {
		t.Errorf("small: %v, %v", d, err)
	}
}
