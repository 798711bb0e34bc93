package userhooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/intent"
)

// The examples do what they say, with the environment that they get.
func TestExamples(t *testing.T) {
	bin, run := t.TempDir(), t.TempDir()
	called := filepath.Join(bin, "called")
	for name, text := range map[string]string{
		"curl":     "#!/bin/sh\necho \"$@\" >>" + called + "\n[ -e " + bin + "/angry ] && echo badauth || echo good 192.0.2.7\n",
		"sendmail": "#!/bin/sh\necho \"$@\" >>" + called + "\ncat >>" + called + "\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1e9, 0)
	events := map[string]event{
		"primary": {name: "primary", at: at, role: intent.Primary, by: "keepalived[811] VI_1 MASTER"},
		"bound":   {name: dhcp.LeaseBound, at: at, wan: wan, lease: lease("192.0.2.7/24")},
		"changed": {name: dhcp.LeaseChanged, at: at, wan: wan, lease: lease("192.0.2.8/24"), old: lease("192.0.2.7/24")},
		"lost":    {name: dhcp.LeaseLost, at: at, wan: wan, old: lease("192.0.2.8/24")},
	}
	// expects runs a script and compares what it called: "" for nothing.
	expects := func(script, event string, fails bool, want ...string) {
		t.Helper()
		_ = os.Remove(called)
		cmd := exec.Command("../../packaging/hooks.d/"+script, event)
		cmd.Env = append(events[event].environment(), "WANFAIL_DYNDNS_RUN="+run)
		cmd.Env[0] = "PATH=" + bin + ":" + os.Getenv("PATH")
		out, err := cmd.CombinedOutput()
		if (err != nil) != fails {
			t.Errorf("%s on %s: %v: %s", script, event, err, out)
		}
		got, _ := os.ReadFile(called)
		if len(want) == 0 && len(got) > 0 {
			t.Errorf("%s on %s called %s", script, event, got)
		}
		for _, w := range want {
			if !strings.Contains(string(got), w) {
				t.Errorf("%s on %s: no %q in what it called: %s", script, event, w, got)
			}
		}
	}
	expects("dyndns", "primary", false)
	expects("dyndns", "lost", false)
	expects("dyndns", "bound", false, "--interface wan ", "--config /etc/wanfail/dyndns ", "myip=192.0.2.7")
	expects("dyndns", "bound", false) // told already
	if err := os.WriteFile(filepath.Join(bin, "angry"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expects("dyndns", "changed", true, "myip=192.0.2.8")
	if err := os.Remove(filepath.Join(bin, "angry")); err != nil {
		t.Fatal(err)
	}
	expects("dyndns", "changed", false, "myip=192.0.2.8") // again, since the server refused

	expects("notify-mail", "bound", false)
	expects("notify-mail", "primary", false, "-t\n", "Subject: ", "is primary (keepalived[811] VI_1 MASTER)\n", "To: root\n\n2001-09-09T01:46:40Z: ")
	expects("notify-mail", "lost", false, "wan has lost 192.0.2.8\n")
}
