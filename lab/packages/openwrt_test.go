package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/config"
)

// openwrt is a root with the package's own files and OpenWrt's around them.
func openwrt(t *testing.T) root {
	t.Helper()
	r := newRoot(t, "usr/sbin/wanfail", "bin/ubus", "sbin/uci", "usr/bin/logger")
	files := packaging("openwrt/files")
	err := filepath.WalkDir(files, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		r.copy(t, path, strings.TrimPrefix(path, files), info.Mode().Perm())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"functions.sh": "lib/functions.sh", "rc.common": "etc/rc.common",
		"netifd-proto.sh": "lib/netifd/netifd-proto.sh", "hotplug-call": "sbin/hotplug-call",
	} {
		r.copy(t, "testdata/openwrt/"+from, to, 0o755)
	}
	return r
}

// uncommented is a shipped configuration with its examples switched on.
func uncommented(t *testing.T, path string) string {
	t.Helper()
	return regexp.MustCompile(`(?m)^#(\s*(?:config|option|list) )`).ReplaceAllString(read(t, path), "$1")
}

func TestHotplug(t *testing.T) {
	r := openwrt(t)
	states := map[string]string{
		"NOTIFY_MASTER": "MASTER", "MASTER": "MASTER",
		"NOTIFY_BACKUP": "BACKUP", "BACKUP": "BACKUP",
		"NOTIFY_FAULT": "FAULT", "FAULT": "FAULT",
		"NOTIFY_STOP": "STOP", "STOP": "STOP",
		"NOTIFY": "", "NOTIFY_SYNC": "", "ifup": "", "": "", "notify_master": "", "NOTIFY_MASTER ": "",
	}
	for action, state := range states {
		for _, typ := range []string{"INSTANCE", "GROUP", "", "SCRIPT"} {
			t.Run(typ+":"+action, func(t *testing.T) {
				// This is how OpenWrt's keepalived calls it.
				res := r.run(t, nil, "/bin/busybox", "env", "-i", "ACTION="+action, "TYPE="+typ, "NAME=VI_1",
					"/sbin/hotplug-call", "keepalived")
				if state == "" || typ == "" || typ == "SCRIPT" {
					res.want(t, 0)
				} else {
					res.want(t, 0, "wanfail [notify] ["+typ+"] [VI_1] ["+state+"]")
				}
			})
		}
	}
	// keepalived appends its own words behind a group's generic notify.
	r.run(t, nil, "/bin/busybox", "env", "-i", "ACTION=NOTIFY", "TYPE=GROUP", "NAME=G",
		"/sbin/hotplug-call", "keepalived", "GROUP", "G", "MASTER", "100").want(t, 0)
	// Without a name there is nothing to say; a strange one stays one argument.
	r.run(t, []string{"ACTION=MASTER", "TYPE=INSTANCE"}, "/sbin/hotplug-call", "keepalived").want(t, 0)
	r.run(t, []string{"ACTION=MASTER", "TYPE=INSTANCE", "NAME=a b; $(reboot) *"}, "/sbin/hotplug-call", "keepalived").
		want(t, 0, "wanfail [notify] [INSTANCE] [a b; $(reboot) *] [MASTER]")
}

func TestInitScript(t *testing.T) {
	r := openwrt(t)
	rc := func(t *testing.T, action string) result {
		return r.run(t, nil, "/bin/sh", "/etc/rc.common", "/etc/init.d/wanfail", action)
	}
	// As installed no WAN is configured: nothing may start, since the keeper of
	// a backup stops services.
	rc(t, "start_service").want(t, 0)

	r.write(t, "etc/config/wanfail", uncommented(t, packaging("openwrt/files/etc/config/wanfail")), 0o600)
	rc(t, "start_service").want(t, 0,
		"procd_open_instance",
		"procd_set_param [command] [/usr/sbin/wanfail] [keeper] [--syslog]",
		"procd_set_param [file] [/etc/config/wanfail] [/usr/sbin/wanfail]",
		"procd_set_param [nice] [-20]",
		"procd_set_param [respawn] [3600] [1] [0]",
		"procd_set_param [stderr] [1]",
		"procd_close_instance",
	)
	rc(t, "service_triggers").want(t, 0, "procd_add_reload_trigger [wanfail]")
	// A stop leaves the WAN to the next keeper, and a reload is a start, which
	// procd turns into a restart if a file has changed.
	rc(t, "stop_service").want(t, 0, "default:stop_service")
	rc(t, "reload_service").want(t, 0, "default:reload_service")
	// After network (20) and before keepalived (70); at the end the other way
	// round, keepalived (01) and network (90).
	if res := rc(t, "numbers"); res.out != "START=21 STOP=89 USE_PROCD=1\n" {
		t.Errorf("order: %s", res.out)
	}
	if got := read(t, packaging("openwrt/files/etc/init.d/wanfail")); !strings.HasPrefix(got, "#!/bin/sh /etc/rc.common\n") {
		t.Error("init script is not run by rc.common")
	}
}

// What a user puts into /etc/wanfail outlives a sysupgrade, which lists it so
// (list_static_conffiles in /sbin/sysupgrade of OpenWrt 24.10).
func TestKeptOverSysupgrade(t *testing.T) {
	r := openwrt(t)
	r.write(t, "etc/wanfail/hooks.d/mine", "#!/bin/sh\n", 0o755)
	r.write(t, "etc/wanfail/dyndns", "", 0o600)
	got := r.run(t, nil, "/bin/busybox", "sh", "-c", `busybox find $(sed -ne '/^[[:space:]]*$/d; /^#/d; p' /lib/upgrade/keep.d/* 2>/dev/null) \( -type f -o -type l \) | busybox sort`)
	if want := "/etc/wanfail/dyndns\n/etc/wanfail/hooks.d/mine\n"; got.code != 0 || got.out != want {
		t.Errorf("exit code %d, kept:\n%s", got.code, got.out)
	}
}

func TestProtoHandler(t *testing.T) {
	r := openwrt(t)
	handler := func(t *testing.T, env []string, args ...string) result {
		return r.run(t, env, append([]string{"/bin/sh", "-c", `cd /lib/netifd/proto && exec ./wanfail.sh "$@"`, "netifd"}, args...)...)
	}
	handler(t, nil, "wanfail", "dump").want(t, 0,
		"proto_config_add_defaults", "dump:wanfail [no_device=1] [no_proto_task=1] [available=1]")
	hangup := `ubus [-S] [call] [service] [signal] [{"name":"wanfail","signal":1}]`
	handler(t, nil, "wanfail", "setup", "isp", `{"proto":"wanfail"}`).want(t, 0, hangup)
	handler(t, nil, "wanfail", "teardown", "isp", `{"proto":"wanfail"}`).want(t, 0)
	// Without a keeper no process gets the SIGHUP, and that is no failed setup.
	r.answer(t, "ubus", "exit 4")
	handler(t, nil, "wanfail", "setup", "isp", `{"proto":"wanfail"}`).want(t, 0, hangup)
	// Included by another script it only defines its functions.
	handler(t, []string{"INCLUDE_ONLY=1"}, "wanfail", "setup", "isp", "{}").want(t, 0)
}

func TestUCIDefaults(t *testing.T) {
	r := openwrt(t)
	for _, s := range []string{"dnsmasq", "odhcpd", "miniupnpd"} {
		r.copy(t, "testdata/record", "etc/init.d/"+s, 0o755)
	}
	advice := func(t *testing.T) []string {
		res := r.run(t, nil, "/bin/sh", "-c", ". /etc/uci-defaults/90-wanfail")
		if res.code != 0 {
			t.Errorf("exit code %d", res.code)
		}
		var logged []string
		for _, call := range res.calls {
			switch {
			case strings.HasPrefix(call, "logger [-t] [wanfail] ["):
				logged = append(logged, strings.TrimSuffix(strings.TrimPrefix(call, "logger [-t] [wanfail] ["), "]"))
			case regexp.MustCompile(`^(dnsmasq|odhcpd) \[enabled\]$`).MatchString(call):
			case regexp.MustCompile(`^uci \[-q\] \[(get|show)\] \[[a-z.]+\]$`).MatchString(call):
			default:
				t.Errorf("it did more than look and tell: %s", call)
			}
		}
		for _, line := range logged {
			if !strings.Contains(res.out, "wanfail: "+line+"\n") {
				t.Errorf("logged but not printed: %s", line)
			}
		}
		return logged
	}

	r.answer(t, "uci", "exit 1")
	got := advice(t)
	want := []string{"/etc/init.d/dnsmasq disable", "/etc/init.d/odhcpd disable", "uci set dhcp.lan.force=1", "proto 'wanfail'"}
	if len(got) != len(want) {
		t.Fatalf("advice:\n%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("advice %q, want it to name %q", got[i], want[i])
		}
	}

	// A router on which all is set gets no message.
	r.answer(t, "dnsmasq", "exit 1")
	r.answer(t, "odhcpd", "exit 1")
	r.answer(t, "uci", `case "$*" in
"-q get dhcp.lan.force") echo 1 ;;
"-q show network") echo "network.lan.proto='static'"; echo "network.isp.proto='wanfail'" ;;
esac`)
	if got := advice(t); len(got) != 0 {
		t.Errorf("advice where none is needed: %q", got)
	}
}

func TestPackageScripts(t *testing.T) {
	r := openwrt(t)
	for _, s := range []string{"prerm", "postinst", "postupgrade"} {
		r.copy(t, packaging("openwrt/nfpm/"+s), s, 0o755)
	}
	r.copy(t, "testdata/record", "etc/init.d/wanfail", 0o755)
	r.copy(t, "testdata/record", "bin/sleep", 0o755)
	r.write(t, "var/run/wanfail/intent.json", "{}", 0o600)

	for _, service := range []string{"dnsmasq", "odhcpd"} {
		r.copy(t, "testdata/record", "etc/init.d/"+service, 0o755)
	}
	const running = `if [ "$1" = running ]; then
	[ ! -e /second ] || exit 1
	: >/second
fi
`
	removal := []string{
		"wanfail [status] [--json]", "wanfail [backup]", "wanfail [stop]", "wanfail [running]", "sleep [1]",
		"wanfail [running]", "wanfail [backup]", "uci [-q] [show] [wanfail]",
	}
	frame := "default_prerm [root=] [pkgname=wanfail] [PKG_UPGRADE=]"

	// Never configured: the services are the user's.
	r.answer(t, "wanfail", running)
	r.run(t, nil, "/prerm").want(t, 0, append(removal[:8:8], frame)...)
	if _, err := os.Stat(r.path("var/run/wanfail")); !os.IsNotExist(err) {
		t.Errorf("run directory after the removal: %v", err)
	}

	// A primary: the LAN has DHCP and DNS afterwards, now and after a boot.
	r.answer(t, "uci", "echo wanfail.globals=wanfail; echo wanfail.isp=wan")
	r.answer(t, "dnsmasq", `[ "$1" != enabled ] || exit 1`)
	r.answer(t, "wanfail", `[ "$1" != status ] || { echo '{"role":"primary"}'; exit; }
`+running)
	if err := os.Remove(r.path("second")); err != nil {
		t.Fatal(err)
	}
	res := r.run(t, nil, "/prerm")
	want := append(removal[:8:8], "uci [-q] [show] [wanfail]", "dnsmasq [enabled]", "dnsmasq [enable]", "dnsmasq [start]",
		"odhcpd [enabled]", "odhcpd [start]", frame)
	if !slices.Equal(res.calls, want) || res.code != 0 {
		t.Errorf("removal on a primary: exit code %d, calls:\n%s", res.code, strings.Join(res.calls, "\n"))
	}
	for _, line := range []string{"dnsmasq starts at boot again", "dnsmasq is started", "odhcpd is started", "has no WAN any more", "keepalived stop"} {
		if !strings.Contains(res.out, line) {
			t.Errorf("the removal does not say %q: %s", line, res.out)
		}
	}

	// A backup, with services of its own choice: the peer serves the LAN.
	r.answer(t, "uci", `echo wanfail.isp=wan; echo "wanfail.globals.service='dnsmasq'"`)
	r.answer(t, "wanfail", running)
	res = r.run(t, nil, "/prerm")
	calls := strings.Join(res.calls, "\n")
	if !strings.Contains(calls, "dnsmasq [enable]") || strings.Contains(calls, "[start]") || strings.Contains(calls, "odhcpd") {
		t.Errorf("removal on a backup:\n%s", calls)
	}

	// A keeper that never ends, and a backup that fails, hold nothing up for ever.
	r.answer(t, "wanfail", `[ "$1" = running ] || exit 1`)
	res = r.run(t, nil, "/prerm")
	if n := strings.Count(strings.Join(res.calls, "\n"), "sleep"); res.code != 0 || n != 6 {
		t.Errorf("exit code %d after %d s, want 0 after 6", res.code, n)
	}

	// An upgrade, and an image under construction: the WAN is not touched.
	upgraded := "default_prerm [root=] [pkgname=wanfail] [PKG_UPGRADE=1]"
	r.run(t, []string{"PKG_UPGRADE=1"}, "/prerm").want(t, 0, upgraded)
	r.copy(t, "testdata/openwrt/functions.sh", "image/lib/functions.sh", 0o644)
	r.run(t, []string{"IPKG_INSTROOT=/image"}, "/prerm").want(t, 0, "default_prerm [root=/image] [pkgname=wanfail] [PKG_UPGRADE=]")

	r.run(t, nil, "/postinst").want(t, 0, "default_postinst [root=] [pkgname=wanfail] [PKG_UPGRADE=]")
	r.run(t, nil, "/postupgrade").want(t, 0, "default_postinst [root=] [pkgname=wanfail] [PKG_UPGRADE=1]")
	r.run(t, []string{"IPKG_NO_SCRIPT=1"}, "/postinst").want(t, 0)
	r.run(t, []string{"IPKG_NO_SCRIPT=1"}, "/postupgrade").want(t, 0)
	r.run(t, []string{"IPKG_INSTROOT=/nowhere"}, "/postinst").want(t, 0)
}

// The configurations that are installed must not start anything, and become
// valid ones when their examples are switched on.
func TestConfigurations(t *testing.T) {
	for _, path := range []string{"openwrt/files/etc/config/wanfail", "debian/wanfail.conf"} {
		if _, err := config.Load(packaging(path)); err == nil || !strings.Contains(err.Error(), "nothing to fail over") {
			t.Errorf("%s as shipped: %v", path, err)
		}
		on := filepath.Join(t.TempDir(), "wanfail")
		if err := os.WriteFile(on, []byte(uncommented(t, packaging(path))), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(on)
		if err != nil {
			t.Errorf("%s with its examples: %v", path, err)
			continue
		}
		if len(cfg.WANs) != 1 || !cfg.BackupGateway.IsValid() || cfg.WANs[0].Instance != "VI_1" || cfg.WANs[0].DHCP.Hostname != "router" {
			t.Errorf("%s with its examples: %+v", path, cfg)
		}
	}
}
