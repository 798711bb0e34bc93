package resolver

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func addrs(list ...string) (as []netip.Addr) {
	for _, s := range list {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

// plain is a resolver without systemd-resolved, in a directory of its own, with
// resolvconf if there is a script for it.
func plain(t *testing.T, script string) (r *Resolver, dir string) {
	t.Helper()
	dir = t.TempDir()
	if script != "" {
		text := "#!/bin/sh\n" + strings.ReplaceAll(script, "DIR", dir) + "\n"
		if err := os.WriteFile(filepath.Join(dir, "resolvconf"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &Resolver{log: slog.New(slog.DiscardHandler), backends: []backend{
		resolvconf{dirs: []string{"/nonexistent", dir}}, file{pathFile(filepath.Join(dir, "resolv.conf"))},
	}}, dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(raw)
}

func set(t *testing.T, r *Resolver, link string, servers []netip.Addr, search ...string) string {
	t.Helper()
	way, err := r.Set(t.Context(), link, servers, search)
	if err != nil {
		t.Fatal(err)
	}
	return way
}

func revert(t *testing.T, r *Resolver, link string) {
	t.Helper()
	if err := r.Revert(t.Context(), link); err != nil {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	r, dir := plain(t, "")
	path := filepath.Join(dir, "resolv.conf")
	revert(t, r, "wan")
	if way := set(t, r, "wan", addrs("192.0.2.1", "::ffff:192.0.2.2"), "isp.example", "x.example."); way != path {
		t.Errorf("way %s", way)
	}
	const wan = "# link wan\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch isp.example x.example.\n"
	if got := read(t, path); got != headline+wan {
		t.Errorf("file:\n%s", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
	}
	set(t, r, "wan", addrs("192.0.2.1", "192.0.2.2"), "isp.example", "x.example.")
	if again, err := os.Stat(path); err != nil || !os.SameFile(info, again) {
		t.Error("the same again wrote a new file")
	}
	other, _ := plain(t, "") // a keeper that has just started
	other.backends = r.backends
	set(t, other, "lte", addrs("198.51.100.1"))
	if got := read(t, path); got != headline+"# link lte\nnameserver 198.51.100.1\n"+wan {
		t.Errorf("two links:\n%s", got)
	}
	set(t, r, "wan", addrs("192.0.2.9"))
	revert(t, other, "lte")
	if got := read(t, path); got != headline+"# link wan\nnameserver 192.0.2.9\n" {
		t.Errorf("a link replaced, a link gone:\n%s", got)
	}
	if way := set(t, r, "wan", nil); way != "" {
		t.Errorf("nothing to set, by way of %q", way)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestFileHealsDamage(t *testing.T) {
	r, dir := plain(t, "")
	path := filepath.Join(dir, "resolv.conf")
	for _, old := range []string{"\x00\xff", "nameserver 6.6.6.6\n", "# link ../x\nnameserver 6.6.6.6\n", "# link wan\nnameserver 6.6.6.6"} {
		if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		set(t, r, "wan", addrs("192.0.2.1"))
		if got := read(t, path); got != headline+"# link wan\nnameserver 192.0.2.1\n" {
			t.Errorf("after %q:\n%s", old, got)
		}
	}
	gone := &Resolver{log: r.log, backends: []backend{file{pathFile(filepath.Join(dir, "none", "resolv.conf"))}}}
	if _, err := gone.Set(t.Context(), "wan", addrs("192.0.2.1"), nil); err == nil {
		t.Error("no error without a directory")
	}
}

func TestResolvconf(t *testing.T) {
	r, dir := plain(t, `echo "$@" >>DIR/calls; [ "$1" = -a ] && cat >DIR/"$2" || rm -f DIR/"$2"`)
	// Before resolvconf was installed the file was the way.
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("# link wan\nnameserver 192.0.2.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if way := set(t, r, "wan", addrs("192.0.2.1"), "isp.example"); way != "resolvconf" {
		t.Errorf("way %s", way)
	}
	if got := read(t, filepath.Join(dir, "wan.wanfail")); got != "nameserver 192.0.2.1\nsearch isp.example\n" {
		t.Errorf("record %q", got)
	}
	if got := read(t, filepath.Join(dir, "resolv.conf")); got != "" {
		t.Errorf("left in the file: %q", got)
	}
	revert(t, r, "wan")
	revert(t, r, "wan")
	if got := read(t, filepath.Join(dir, "calls")); got != "-a wan.wanfail\n-d wan.wanfail\n-d wan.wanfail\n" {
		t.Errorf("calls %q", got)
	}
	broken, _ := plain(t, "echo disk full; exit 3")
	if _, err := broken.Set(t.Context(), "wan", addrs("192.0.2.1"), nil); err == nil ||
		!strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v", err)
	}
}

// systemd-resolved brings a resolvconf that is resolvectl and needs it running.
func TestResolvectlIsNoResolvconf(t *testing.T) {
	r, dir := plain(t, "exit 1")
	if err := os.Rename(filepath.Join(dir, "resolvconf"), filepath.Join(dir, "resolvectl")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("resolvectl", filepath.Join(dir, "resolvconf")); err != nil {
		t.Fatal(err)
	}
	if way := set(t, r, "wan", addrs("192.0.2.1")); !strings.HasPrefix(way, dir) {
		t.Errorf("way %s", way)
	}
}

func TestUntrustedInput(t *testing.T) {
	r, dir := plain(t, `: >DIR/called`)
	ok := addrs("192.0.2.1")
	for i, c := range []struct {
		link    string
		servers []netip.Addr
		search  []string
	}{
		{"", ok, nil},
		{"../wan", ok, nil},
		{"-d", ok, nil},
		{"wan\n", ok, nil},
		{"a-name-too-long-", ok, nil},
		{"wan", []netip.Addr{{}}, nil},
		{"wan", addrs("0.0.0.0"), nil},
		{"wan", addrs("255.255.255.255"), nil},
		{"wan", addrs("224.0.0.1"), nil},
		{"wan", addrs("fe80::1%eth0"), nil},
		{"wan", make([]netip.Addr, 65), nil},
		{"wan", ok, []string{""}},
		{"wan", ok, []string{"."}},
		{"wan", ok, []string{"a..b"}},
		{"wan", ok, []string{"a b"}},
		{"wan", ok, []string{"x\nnameserver 6.6.6.6"}},
		{"wan", ok, []string{"-x.example"}},
		{"wan", ok, []string{"$(reboot)"}},
		{"wan", ok, []string{strings.Repeat("a", 64)}},
		{"wan", ok, []string{strings.Repeat("a.", 127) + "a"}},
		{"wan", ok, []string{"dömäne"}},
		{"wan", ok, make([]string, 65)},
	} {
		if _, err := r.Set(t.Context(), c.link, c.servers, c.search); err == nil {
			t.Errorf("%d: %+v was taken", i, c)
		}
	}
	if r.Revert(t.Context(), "../wan") == nil {
		t.Error("revert took a bad link")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("something was done: %v, %v", left, err)
	}
}

// Where systemd runs the machine, resolvconf is run by it, not by us.
func TestResolvconfOutside(t *testing.T) {
	r, dir := plain(t, `echo "inside $*" >>DIR/log`)
	runner := filepath.Join(dir, "systemd-run")
	if err := os.WriteFile(runner, []byte("#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nprintf 'outside %s with ' \"${*#"+dir+"/}\" >>"+dir+"/log\ncat >>"+dir+"/log\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := r.backends[0].(resolvconf)
	program.unit = runner
	r.backends[0] = program
	if way := set(t, r, "wan", addrs("192.0.2.1")); way != "resolvconf" {
		t.Errorf("way %s", way)
	}
	if got, want := read(t, filepath.Join(dir, "log")), "outside resolvconf -a wan.wanfail with nameserver 192.0.2.1\n"; got != want {
		t.Errorf("called %q, want %q", got, want)
	}
	program.unit = "/nonexistent"
	r.backends[0] = program
	revert(t, r, "wan")
	if got := read(t, filepath.Join(dir, "log")); !strings.HasSuffix(got, "\ninside -d wan.wanfail\n") {
		t.Errorf("called %q", got)
	}
}
