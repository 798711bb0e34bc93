package packages

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// feed lays out a feed with our package in it and a stand-in of the build
// system, and returns a function that runs make in the package.
func feed(t *testing.T) func(args ...string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("rules.mk", "INCLUDE_DIR := $(TOPDIR)\n")
	put("package.mk", read(t, "testdata/feed/package.mk"))
	put("feeds/packages/lang/golang/golang-package.mk", read(t, "testdata/feed/golang-package.mk"))
	pkg := filepath.Join(dir, "feeds/packages/net/wanfail")
	if err := os.CopyFS(pkg, os.DirFS(packaging("openwrt"))); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) string {
		cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", pkg, "TOPDIR=" + dir}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("make %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
}

// The package that the feed builds holds what ours does.
func TestFeedInstall(t *testing.T) {
	dest := t.TempDir()
	source, err := filepath.Abs(repo)
	if err != nil {
		t.Fatal(err)
	}
	feed(t)("DESTDIR="+dest, "PKG_BUILD_DIR="+source, "install-wanfail")
	var got []string
	err = filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		got = append(got, fmt.Sprintf("%04o %s", info.Mode().Perm(), strings.TrimPrefix(path, dest)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dest, "etc/wanfail/hooks.d")); err != nil || info.Mode() != fs.ModeDir|0o755 {
		t.Errorf("no place for user scripts: %v", err)
	}
	slices.Sort(got)
	want := slices.Clone(openwrtFiles)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("installs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFeedDeclares(t *testing.T) {
	got := feed(t)("show-wanfail")
	want := "depends: @golang +keepalived +kmod-macvlan\n" +
		"go: github.com/wanfail/wanfail github.com/wanfail/wanfail -tags nosystemd,urfave_cli_no_docs -X main.version=0.1.0\n" +
		"conffiles: /etc/config/wanfail\n"
	if got != want {
		t.Errorf("it declares\n%swant\n%s", got, want)
	}
}

// The feed's prerm does what that of our own packages does.
func TestFeedPrerm(t *testing.T) {
	theirs := strings.TrimPrefix(feed(t)("prerm-wanfail"), "#!/bin/sh\n")
	if len(theirs) < 80 || !strings.Contains(read(t, packaging("openwrt/nfpm/prerm")), theirs) {
		t.Errorf("the feed's prerm is not a part of nfpm/prerm:\n%s", theirs)
	}
}

// The feed's CI calls test.sh with the name and the version.
func TestFeedTest(t *testing.T) {
	r := newRoot(t, "usr/sbin/wanfail")
	r.copy(t, packaging("openwrt/test.sh"), "test.sh", 0o755)
	r.answer(t, "wanfail", `echo "wanfail version 0.1.0"`)
	for version, code := range map[string]int{"0.1.0": 0, "0.2.0": 1, "0x1.0": 1} {
		res := r.run(t, nil, "/test.sh", "wanfail", version)
		if res.code != code || !slices.Equal(res.calls, []string{"wanfail [--version]"}) {
			t.Errorf("version %s: exit code %d after %q, want %d", version, res.code, res.calls, code)
		}
	}
}
