package view

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC)

func reports() map[string]control.Report {
	primary := control.Report{
		Version: "1.2.0", PID: 345, Role: intent.Primary, Changes: 3, Since: now.Add(-2*time.Hour - 3*time.Minute), By: "keepalived[811] VI_1 MASTER",
		WANs: []control.WAN{{
			Name: "wan", Parent: "eth2", MAC: "02:68:71:2e:62:67", Role: intent.Primary, State: "bound",
			Address: netip.MustParsePrefix("198.51.100.7/24"), Gateway: netip.MustParseAddr("198.51.100.1"),
			Server: netip.MustParseAddr("198.51.100.1"), DNS: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")},
			LeaseSeconds: 2470, LeaseTotal: 3600, RenewSeconds: 670,
			Gatewayed: &control.Reach{Reachable: true, LastReply: now.Add(-12 * time.Second), RTTMicros: 412},
		}},
		Services:   []control.Service{{Name: "dnsmasq", Backend: "systemd", Running: true}, {Name: "miniupnpd", Backend: "systemd", Error: "unit failed: exit status 1"}},
		Conntrackd: "ok", Keepalived: &control.Daemon{PID: 810}, VRRP: []control.VRRP{{Name: "VI_1", State: "MASTER", Since: now.Add(-2 * time.Hour), PID: 811, Alive: true}}, Boot: []control.AtBoot{{Name: "keepalived", Enabled: true}, {Name: "nftables"}},
		Transitions: []control.Transition{
			{At: now.Add(-3 * time.Hour), Role: intent.Backup, By: "default after boot; keepalived has called no hook", Took: 41 * time.Millisecond},
			{
				At: now.Add(-2*time.Hour - 3*time.Minute), Role: intent.Primary, By: "keepalived[811] VI_1 MASTER", Took: 1234 * time.Millisecond,
				Phases: []control.Phase{
					{Name: "macvlan", Detail: "wan on eth2", Took: 800 * time.Microsecond, At: 800 * time.Microsecond},
					{Name: "lease", Took: 2 * time.Millisecond, At: 2100 * time.Microsecond},
					{Name: "address", Took: time.Millisecond, At: 2900 * time.Microsecond},
					{Name: "conntrackd commit", At: 11 * time.Millisecond, Error: "no answer for 200ms"},
					{Name: "conntrackd resync", At: 12 * time.Millisecond},
					{Name: "start dnsmasq", At: 41 * time.Millisecond},
					{Name: "start miniupnpd", At: 1234 * time.Millisecond, Error: "unit failed: exit status 1"},
				},
				Problems: []string{"start miniupnpd: unit failed: exit status 1"},
			},
		},
		Warnings: []string{
			"start miniupnpd: unit failed: exit status 1",
			"wan: parent eth2 has the address 192.168.100.2/24 and answers for it with its own MAC; leave the parent without configuration",
		},
	}
	backup := control.Report{
		Version: "1.2.0", PID: 345, Role: intent.Backup, Since: now.Add(-50 * time.Hour), By: "keepalived[811] VI_1 BACKUP",
		WANs:     []control.WAN{{Name: "wan", Parent: "eth2", MAC: "02:68:71:2e:62:67", State: "standby"}},
		Services: []control.Service{{Name: "dnsmasq", Backend: "init"}},
		Warnings: []string{}, Conntrackd: "off", Keepalived: &control.Daemon{Problem: "keepalived does not run: `systemctl start keepalived`"},
	}
	starting := primary
	starting.Services = []control.Service{{Name: "dnsmasq", Backend: "systemd", Pending: true}, {Name: "miniupnpd", Backend: "systemd", Pending: true, Error: "of the role before"}}
	starting.Transitions, starting.Warnings = nil, nil
	trouble := primary
	trouble.WANs = []control.WAN{
		{Name: "wan", Parent: "eth2", MAC: "02:68:71:2e:62:67", Role: intent.Primary, State: "selecting", Diagnosis: "no-answer", Error: "add macvlan wan on eth2: MAC is already in use by \x1b[31mmacvlan evil\x07"},
		{
			Name: "wan2", Parent: "eth3", MAC: "02:68:71:2e:62:68", Role: intent.Primary, State: "rebinding", Address: netip.MustParsePrefix("203.0.113.9/32"),
			Gateway: netip.MustParseAddr("203.0.113.1"), LeaseSeconds: 100, LeaseTotal: 3600,
			Gatewayed: &control.Reach{LastReply: now.Add(-time.Hour)},
		},
		{
			Name: "wan3", Parent: "eth4", MAC: "02:68:71:2e:62:69", Role: intent.Primary, State: "bound", Address: netip.MustParsePrefix("192.0.2.9/24"),
			Gateway: netip.MustParseAddr("192.0.2.1"), LeaseSeconds: -1, LeaseTotal: -1, Gatewayed: &control.Reach{},
		},
	}
	trouble.VRRP = []control.VRRP{{State: "FAULT", Since: now.Add(-time.Minute), PID: 811, Alive: true}, {Name: "VI_2", State: "BACKUP", Since: now.Add(-time.Hour), PID: 12}}
	trouble.Conntrackd = "failing: no answer within 200ms"
	trouble.Transitions, trouble.Services = nil, nil
	trouble.Warnings = []string{strings.Repeat("x", 200), "line\nbreak"}
	alone := backup
	alone.PID, alone.By = 0, "keepalived[811] VI_1 MASTER"
	alone.WANs = []control.WAN{{
		Name: "wan", Parent: "eth2", MAC: "02:68:71:2e:62:67", Role: intent.Primary, State: "unattended",
		Address: netip.MustParsePrefix("198.51.100.7/24"), LeaseSeconds: 2470,
	}}
	return map[string]control.Report{"primary": primary, "backup": backup, "trouble": trouble, "alone": alone, "starting": starting, "empty": {}}
}

func TestReport(t *testing.T) {
	for name, r := range reports() {
		for _, colour := range []bool{false, true} {
			file := name
			if colour {
				file += ".colour"
			}
			t.Run(file, func(t *testing.T) {
				var b bytes.Buffer
				Screen{Colour: colour, Now: now}.Report(&b, r)
				golden(t, file+".golden", b.Bytes())
				for line := range strings.Lines(b.String()) {
					bare := sgr.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")
					if n := len([]rune(bare)); n > 80 {
						t.Errorf("%d columns: %s", n, line)
					}
					if strings.ContainsFunc(bare, func(r rune) bool { return r < ' ' || r == 0x7f }) {
						t.Errorf("control character in %q", line)
					}
				}
			})
		}
	}
}

// A terminal of 24 rows shows the role and all that is wrong, whatever else there
// is to tell.
func TestWarningsOnASmallScreen(t *testing.T) {
	r := reports()["primary"]
	for range 4 {
		r.WANs = append(r.WANs, r.WANs[0])
		r.Transitions = append(r.Transitions, r.Transitions...)
	}
	var b bytes.Buffer
	Screen{Now: now}.Report(&b, r)
	rows := strings.Split(b.String(), "\n")
	if len(rows) < 30 {
		t.Fatalf("only %d rows", len(rows))
	}
	top := strings.Join(strings.Fields(strings.Join(rows[:23], " ")), " ")
	for _, text := range append([]string{"role primary"}, r.Warnings...) {
		if !strings.Contains(top, strings.TrimPrefix(text, "warning ")) {
			t.Errorf("the first 23 rows lack %q", text)
		}
	}
	// What is wrong is told once.
	if n := strings.Count(b.String(), "unit failed: exit status 1"); n != 1 {
		t.Errorf("a failure is told %d times", n)
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9]+m")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s (-update writes it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{"", ""},
		{"abc", "abc"},
		{"abcde fgh", "abcde|fgh"},
		{"abcdefgh", "abcde|fgh"},
		{"ab abcdefgh", "ab|abcde|fgh"},
		{"ab cd ef", "ab cd|ef"},
		{"äöüßé x", "äöüßé|x"},
		{"a    b c d", "a   |b c d"},
	} {
		if got := strings.Join(wrap(c.text, 5), "|"); strings.ReplaceAll(got, " |", "|") != strings.ReplaceAll(c.want, "   |", "|") {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 412 * time.Microsecond: "412µs", 3210 * time.Microsecond: "3.2ms", 1500 * time.Millisecond: "1.50s",
		610 * time.Second: "10m10s", 2 * time.Minute: "2m", time.Hour: "1h", time.Hour + 10*time.Minute: "1h10m",
		time.Hour + time.Second: "1h0m1s", 24 * time.Hour: "1d", 50 * time.Hour: "2d2h", -1500 * time.Millisecond: "-1.50s",
	} {
		if got := Short(d); got != want {
			t.Errorf("Short(%v) = %s, want %s", d, got, want)
		}
	}
	if got := Long(1400 * time.Millisecond); got != "1s" {
		t.Errorf("Long = %s", got)
	}
}

func TestAnswer(t *testing.T) {
	for name, a := range map[string]control.Answer{
		"reached": {Role: intent.Primary, Outcome: control.Reached, Took: 3 * time.Millisecond, Phases: []control.Phase{
			{Name: "macvlan", Detail: "wan on eth2", Took: 800 * time.Microsecond}, {Name: "start dnsmasq", Took: time.Second, Error: "no"},
		}},
		"degraded":         {Role: intent.Primary, Outcome: control.Degraded, Took: 5 * time.Second, Problems: []string{"wan: no lease yet: no answer so far"}},
		"superseded":       {Role: intent.Backup, Outcome: control.Superseded, By: "keepalived[811] VI_1 FAULT"},
		"already":          {Role: intent.Backup, Outcome: control.Reached, Already: true},
		"already-degraded": {Role: intent.Primary, Outcome: control.Degraded, Already: true, Problems: []string{"wan: no lease"}},
	} {
		var b bytes.Buffer
		Answer(&b, a)
		golden(t, "answer-"+name+".golden", b.Bytes())
	}
}

func TestFindings(t *testing.T) {
	var b bytes.Buffer
	Screen{}.Findings(&b, []Finding{
		{"notify-stop", "error", "vrrp_instance VI_1 has no notify_stop (/etc/keepalived/keepalived.conf:31)", "each `systemctl stop keepalived` leaves the WAN up on both routers", `sed -i -E -e '/^\s*vrrp_instance VI_1 \{/a notify_stop "/usr/sbin/wanfail backup"' /etc/keepalived/keepalived.conf; systemctl try-reload-or-restart keepalived`},
		{"mac-global", "warning", "macaddr 00:68:71:2e:62:67 of wan is not locally administered", "it belongs to some card", "by hand: take another one, the same on both routers, whose first byte is 02 or 06 or 0a"},
	})
	Screen{}.Findings(&b, nil)
	golden(t, "findings.golden", b.Bytes())
}
