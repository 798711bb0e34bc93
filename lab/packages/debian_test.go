package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/netif"
)

// debian is a root with the maintainer scripts; with systemd if it says so.
func debian(t *testing.T, systemd bool) root {
	t.Helper()
	r := newRoot(t, "usr/sbin/wanfail", "usr/bin/deb-systemd-helper", "usr/bin/deb-systemd-invoke",
		"bin/systemctl", "bin/networkctl", "sbin/start-stop-daemon", "bin/ip")
	for _, s := range []string{"postinst", "prerm", "postrm"} {
		r.copy(t, packaging("debian/"+s), s, 0o755)
	}
	if systemd {
		r.mkdir(t, "run/systemd/system")
	}
	r.answer(t, "systemctl", `[ "$2" != is-active ] || exit 3`) // no networkd
	return r
}

func (r root) mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(r.path(name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestPostinst(t *testing.T) {
	r := debian(t, true)
	helper := []string{
		"deb-systemd-helper [unmask] [wanfail.service]",
		"deb-systemd-helper [--quiet] [was-enabled] [wanfail.service]",
		"deb-systemd-helper [enable] [wanfail.service]",
		"systemctl [--system] [daemon-reload]",
	}
	r.run(t, nil, "/postinst", "configure", "").want(t, 0, append(helper[:4:4],
		"systemctl [--quiet] [is-active] [systemd-networkd.service]",
		"deb-systemd-invoke [start] [wanfail.service]")...)
	// An upgrade: one restart, and no stop before it, see prerm.
	r.run(t, nil, "/postinst", "configure", "1.0").want(t, 0, append(helper[:4:4],
		"deb-systemd-invoke [restart] [wanfail.service]")...)

	// networkd learns about the interface before there is one.
	r.answer(t, "systemctl", "")
	r.run(t, nil, "/postinst", "configure", "").want(t, 0, append(helper[:4:4],
		"systemctl [--quiet] [is-active] [systemd-networkd.service]", "networkctl [reload]",
		"deb-systemd-invoke [start] [wanfail.service]")...)

	// An administrator has disabled the service, and policy-rc.d forbids starts.
	r.answer(t, "deb-systemd-helper", `[ "$2" != was-enabled ] || exit 1`)
	r.answer(t, "deb-systemd-invoke", "exit 101")
	r.run(t, nil, "/postinst", "configure", "1.0").want(t, 0,
		helper[0], helper[1], "deb-systemd-helper [update-state] [wanfail.service]", helper[3],
		"deb-systemd-invoke [restart] [wanfail.service]")

	r.run(t, nil, "/postinst", "triggered", "x").want(t, 0)
	// A chroot or a machine without systemd.
	debian(t, false).run(t, nil, "/postinst", "configure", "").want(t, 0, helper[:3]...)
}

func TestPrerm(t *testing.T) {
	r := debian(t, true)
	// Never run: nothing to take back, and nothing is touched.
	r.run(t, nil, "/prerm", "remove").want(t, 0)

	r.mkdir(t, "run/wanfail")
	removal := []string{
		"wanfail [backup]",
		"deb-systemd-invoke [stop] [wanfail.service]",
		"systemctl [stop] [wanfail-keeper.service]",
		"wanfail [backup]",
		"systemctl [--quiet] [is-active] [keepalived.service]",
	}
	r.run(t, nil, "/prerm", "remove").want(t, 0, removal...)
	for program, code := range map[string]string{"wanfail": "exit 2", "systemctl": "exit 5", "deb-systemd-invoke": "exit 1"} {
		r.answer(t, program, code)
	}
	r.run(t, nil, "/prerm", "remove").want(t, 0, removal...)
	// The upgrade of a live primary does not pass here.
	r.run(t, nil, "/prerm", "upgrade", "2.0").want(t, 0)
	r.run(t, nil, "/prerm", "deconfigure", "in-favour", "x", "1").want(t, 0)

	r = debian(t, false)
	r.mkdir(t, "run/wanfail")
	r.run(t, nil, "/prerm", "remove").want(t, 0, "wanfail [backup]",
		"start-stop-daemon [--stop] [--quiet] [--oknodo] [--retry] [5] [--exec] [/usr/sbin/wanfail]", "wanfail [backup]")
}

func TestPostrm(t *testing.T) {
	r := debian(t, true)
	for _, step := range []struct {
		arg   string
		calls []string
	}{
		{"upgrade", nil},
		{"remove", []string{"systemctl [--system] [daemon-reload]"}},
		{"purge", []string{
			"deb-systemd-helper [purge] [wanfail.service]",
			fmt.Sprintf("ip [-4] [rule] [flush] [protocol] [%d]", netif.BackupProtocol),
			fmt.Sprintf("ip [-4] [route] [flush] [table] [all] [proto] [%d]", netif.BackupProtocol),
		}},
	} {
		r.write(t, "run/wanfail/intent.json", "{}", 0o600)
		r.run(t, nil, "/postrm", step.arg).want(t, 0, step.calls...)
		_, err := os.Stat(r.path("run/wanfail"))
		if gone := os.IsNotExist(err); gone != (step.arg != "upgrade") {
			t.Errorf("%s: run directory: %v", step.arg, err)
		}
	}
}

// unit is the service file with programs that exist here.
func unit(t *testing.T) (path, text string) {
	t.Helper()
	text = read(t, packaging("systemd/wanfail.service"))
	path = filepath.Join(t.TempDir(), "wanfail.service")
	here := strings.ReplaceAll(text, "/usr/sbin/wanfail", "/bin/true")
	if err := os.WriteFile(path, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, text
}

func TestUnit(t *testing.T) {
	path, _ := unit(t)
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// The threshold is in tenths: at most 2.3.
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=23", path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// The service does not start before a WAN is configured: its keeper would stop
// dnsmasq on a router on which the package was only installed.
func TestUnitCondition(t *testing.T) {
	_, text := unit(t)
	m := regexp.MustCompile(`(?m)^ExecCondition=/usr/bin/grep -Eqs "((?:[^"\\]|\\.)*)" (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("no ExecCondition with grep")
	}
	if strings.ContainsAny(m[1], "%$") {
		t.Errorf("systemd would expand the pattern %q", m[1])
	}
	if m[2] != "/etc/wanfail.conf" {
		t.Errorf("it looks into %s", m[2])
	}
	pattern := strings.ReplaceAll(m[1], `\"`, `"`)
	example := packaging("debian/wanfail.conf")
	for _, c := range []struct {
		text  string
		start bool
	}{
		{read(t, example), false},
		{uncommented(t, example), true},
		{"config wan 'wan'\n", true},
		{"configwan wan\n", false},
		{"\tconfig \"wan\" 'isp'\n", true},
		{"config 'wan' isp\n", true},
		{"config wanfail 'globals'\n", false},
		{"# config wan 'wan'\n", false},
		{"option wan 'config wan'\n", false},
		{"", false},
	} {
		file := filepath.Join(t.TempDir(), "wanfail.conf")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("grep", "-Eqs", pattern, file)
		if err := cmd.Run(); cmd.ProcessState.Success() != c.start {
			t.Errorf("starts with %.40q: %v (%v), want %v", c.text, !c.start, err, c.start)
		}
	}
	if err := exec.Command("grep", "-Eqs", pattern, "/nonexistent").Run(); err == nil {
		t.Error("starts without a configuration")
	}
}

// udev knows our interfaces by the group that netif gives them; networkd and
// NetworkManager know them by what the rule says.
func TestUdevRule(t *testing.T) {
	rule := read(t, packaging("debian/60-wanfail.rules"))
	// sysfs shows the group in decimal.
	if want := fmt.Sprintf(`ATTR{netdev_group}=="%d"`, netif.Group); !strings.Contains(rule, want) {
		t.Errorf("the rule does not match %s", want)
	}
	for _, set := range []string{`ENV{NM_UNMANAGED}="1"`, `ENV{WANFAIL}="1"`} {
		if !strings.Contains(rule, set) {
			t.Errorf("the rule does not set %s", set)
		}
	}
	network := read(t, packaging("debian/10-wanfail.network"))
	for _, line := range []string{"[Match]\nKind=macvlan\nProperty=WANFAIL=1\n", "[Link]\nUnmanaged=yes\n"} {
		if !strings.Contains(network, line) {
			t.Errorf("10-wanfail.network lacks %q", line)
		}
	}
}

func TestExamples(t *testing.T) {
	// In a network namespace of its own, and only checked.
	out, err := exec.Command("unshare", "--net", "nft", "--check", "--file", packaging("nftables/nftables.conf")).CombinedOutput()
	if err != nil {
		t.Errorf("nft: %v\n%s", err, out)
	}
	confs, err := filepath.Glob(packaging("keepalived/*.conf"))
	if err != nil || len(confs) < 3 {
		t.Fatalf("keepalived examples: %q, %v", confs, err)
	}
	for _, path := range confs {
		text := regexp.MustCompile(`(?m)#.*$`).ReplaceAllString(read(t, path), "")
		want := []string{"enable_script_security", "script_user root"}
		if strings.HasSuffix(path, "fifo.conf") {
			want = append(want, "vrrp_notify_fifo ", `vrrp_notify_fifo_script "/usr/sbin/wanfail fifo"`)
		} else {
			want = append(want, `notify_master "/usr/sbin/wanfail primary"`)
			for _, event := range []string{"backup", "fault", "stop"} {
				want = append(want, "notify_"+event+` "/usr/sbin/wanfail `+event+`"`)
			}
		}
		text = regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s lacks %s", filepath.Base(path), w)
			}
		}
	}
}
