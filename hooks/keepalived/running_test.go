package keepalived

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whose configuration counts: that of root's keepalived, wherever its process is
// in the list; never that of a user's process of the same name.
func TestFind(t *testing.T) {
	const exe = "/usr/sbin/keepalived"
	conf := func(h *host, files ...string) {
		for _, f := range files {
			h.write(f, "vrrp_instance VI_1 {\n}\n")
		}
	}
	for name, c := range map[string]struct {
		make func(h *host)
		want string // the file; "": none
	}{
		"none runs":      {func(h *host) { conf(h, DefaultFile, UCIFile) }, DefaultFile},
		"root's":         {func(h *host) { conf(h, DefaultFile, "/srv/k"); h.process(7, "keepalived", "0", exe, "-f", "/srv/k") }, "/srv/k"},
		"its child only": {func(h *host) { conf(h, "/srv/k"); h.process(7, "keepalived_vrrp", "0", exe, "-f/srv/k") }, "/srv/k"},
		"relative": {func(h *host) {
			conf(h, "/srv/k")
			h.process(7, "keepalived", "0", exe, "--use-file=k")
			if err := os.Symlink("/srv", filepath.Join(h.Root, "/proc/7/cwd")); err != nil {
				h.t.Fatal(err)
			}
		}, "/srv/k"},
		"upgraded": {func(h *host) { conf(h, "/srv/k"); h.process(7, "keepalived", "0", exe+" (deleted)", "-f", "/srv/k") }, "/srv/k"},
		"the first": {func(h *host) {
			conf(h, "/srv/a", "/srv/b", "/srv/c")
			h.process(1000, "keepalived", "0", exe, "-f", "/srv/a")
			h.process(99, "keepalived", "0", exe, "-f", "/srv/b")
			h.process(100, "keepalived", "0", exe, "-f", "/srv/c")
		}, "/srv/b"},
		"a user's": {func(h *host) { conf(h, DefaultFile, "/srv/k"); h.process(7, "keepalived", "1000", exe, "-f", "/srv/k") }, DefaultFile},
		"a set-uid program under that name": {func(h *host) {
			conf(h, DefaultFile, "/srv/k")
			h.write("/usr/bin/su", "")
			h.process(7, "keepalived", "0", "/usr/bin/su", "-f", "/srv/k")
		}, DefaultFile},
		"a user's program": {func(h *host) {
			conf(h, DefaultFile, "/srv/k")
			h.write("/home/u/keepalived", "")
			h.process(7, "keepalived", "0", "/home/u/keepalived", "-f", "/srv/k")
			h.chown("/home/u", 1000)
		}, DefaultFile},
		"another name":    {func(h *host) { conf(h, DefaultFile, "/srv/k"); h.process(7, "dnsmasq", "0", exe, "-f", "/srv/k") }, DefaultFile},
		"/tmp on Debian":  {func(h *host) { conf(h, UCIFile) }, ""},
		"/tmp on OpenWrt": {func(h *host) { conf(h, DefaultFile, UCIFile); h.write("/etc/openwrt_release", "") }, UCIFile},
		"/tmp on OpenWrt, a user's": {func(h *host) {
			conf(h, DefaultFile, UCIFile)
			h.write("/etc/openwrt_release", "")
			h.chown(UCIFile, 1000)
		}, "belongs to uid 1000"},
		"OpenWrt, before its first start": {func(h *host) {
			conf(h, DefaultFile)
			h.write("/etc/openwrt_release", "")
		}, ""},
		"alt_config_file": {func(h *host) {
			conf(h, DefaultFile)
			h.write("/etc/openwrt_release", "")
			h.write("/tmp/x", "")
			if err := os.Symlink(DefaultFile, filepath.Join(h.Root, UCIFile)); err != nil {
				h.t.Fatal(err)
			}
		}, DefaultFile},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c.make(h)
			k, err := Find(h.Tree)
			switch {
			case c.want == "" && !errors.Is(err, os.ErrNotExist):
				t.Errorf("got %+v, %v", k, err)
			case c.want == "":
			case strings.HasPrefix(c.want, "belongs"):
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case k.File != c.want:
				t.Errorf("got %s, want %s", k.File, c.want)
			}
		})
	}
}

func (h *host) chown(name string, uid int) {
	h.t.Helper()
	if err := os.Chown(filepath.Join(h.Root, name), uid, 0); err != nil {
		h.t.Fatal(err)
	}
}
