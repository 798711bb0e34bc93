package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSplitKeepalived(t *testing.T) {
	for line, want := range map[string][]string{
		`  notify_stop "/usr/sbin/wanfail backup" # always`: {"notify_stop", "/usr/sbin/wanfail backup"},
		`vrrp_instance VI_1 {`:                              {"vrrp_instance", "VI_1", "{"},
		`virtual_ipaddress {192.0.2.1/24}`:                  {"virtual_ipaddress", "{", "192.0.2.1/24", "}"},
		`! comment`:                                         nil, `a "!" c!d`: {"a", "!", "c"}, ``: nil,
	} {
		if got := splitKeepalived(uncomment(line)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// What keepalived reads, and how: comments, continued lines, definitions, lines for
// one router only, files in files.
func TestKeepalivedSyntax(t *testing.T) {
	h := debian(t)
	h.write("/proc/sys/kernel/hostname", "ar1.example\n")
	h.write("/proc/7/comm", "keepalived_vrrp\n")
	h.write("/proc/7/cmdline", "keepalived\x00--use-file\x00/srv/k.conf\x00-D\x00")
	h.write("/srv/k.conf", `global_defs { vrrp_version 3 } ! version 2
$HOOK=/usr/sbin/wanfail
$NOTIFY=\
    notify_backup "$HOOK backup" \
    notify_fault  "${HOOK} backup" \
    notify_stop   "$HOOK backup"
$IFACE = eth1
include conf.d/{a,b}*
include conf.d/none*
`)
	h.write("/srv/conf.d/a1", "vrrp_instance VI_1\n{\n  interface $IFACE\n  @ar0 priority 200\n  @^ar0 priority 100 # here\n  include ../hooks\n  advert_int \\\n 0.1\n}\n")
	h.write("/srv/conf.d/.b", "vrrp_instance hidden {\n}\n")
	h.write("/srv/conf.d/b1", "~SEQ(ID, 1, 3) vrrp_instance VI_6 {\nversion 2\nvirtual_ipaddress { 2001:db8::1/64 }\n}\n")
	h.write("/srv/hooks", "$NOTIFY\nnotify_master \"$HOOK primary\"\n")
	k, err := h.sys.Keepalived()
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Instances) != 2 {
		t.Fatalf("%d instances", len(k.Instances))
	}
	one, six := k.Instances[0], k.Instances[1]
	if one.Name != "VI_1" || one.Interface != "eth1" || one.Priority != 100 || one.Version != 3 || len(ours(one)) != 4 || six.Version != 3 {
		t.Errorf("got %+v and %+v", one, six)
	}
}

// A pattern that matches the whole disk costs no more than a few thousand names.
func TestGlobBounded(t *testing.T) {
	h := debian(t)
	for i := range maxFiles + 1 {
		h.write(fmt.Sprintf("/many/%d/x", i), "")
	}
	for pattern, want := range map[string]int{"/many/7/x": 1, "/many/*/x": 0, "/*/sbin/wan[a-z]*": 1, "/many/{7,8}/{x,y}": 2} {
		if got := h.sys.glob(pattern); len(got) != want {
			t.Errorf("%s: %d names", pattern, len(got))
		}
	}
}

func TestEndlessIncludes(t *testing.T) {
	h := debian(t)
	h.write("/k.conf", strings.Repeat("include /k.conf\n", 10))
	if _, err := h.sys.KeepalivedFile("/k.conf"); err == nil || !strings.Contains(err.Error(), "files are included") {
		t.Errorf("got %v", err)
	}
}

// Whatever the files hold: no panic, no endless loop.
func FuzzKeepalived(f *testing.F) {
	for _, name := range []string{"keepalived.conf", "keepalived-fifo.conf"} {
		b, err := os.ReadFile(filepath.Join("../../packaging/keepalived", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("include *\n{ } } a { b\n{\nvrrp_instance {"))
	f.Fuzz(func(t *testing.T, b []byte) {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "k.conf"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		s := System{Root: root}
		k, err := s.KeepalivedFile("/k.conf")
		if err == nil {
			Examine(&Facts{Keepalived: k})
		}
	})
}
