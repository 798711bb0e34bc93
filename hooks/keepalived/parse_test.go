package keepalived

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/files"
)

// host is a computer in a directory.
type host struct {
	t *testing.T
	files.Tree
}

func newHost(t *testing.T) *host {
	h := &host{t: t, Tree: files.Tree{Root: t.TempDir()}}
	if err := os.Chmod(h.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("/usr/sbin/wanfail", "\x7fELF")
	h.write("/usr/sbin/keepalived", "\x7fELF")
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.Root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

// process is one that runs, of a user, with its program and arguments.
func (h *host) process(pid int, name, uid, exe string, args ...string) {
	h.t.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	h.write(proc+"/comm", name+"\n")
	h.write(proc+"/cmdline", strings.Join(append([]string{exe}, args...), "\x00")+"\x00")
	h.write(proc+"/status", "Name:\t"+name+"\nUid:\t"+strings.Join([]string{uid, "0", "0", "0"}, "\t")+"\n")
	if err := os.Symlink(exe, filepath.Join(h.Root, proc, "exe")); err != nil {
		h.t.Fatal(err)
	}
}

func TestSplitLine(t *testing.T) {
	for line, want := range map[string][]string{
		`  notify_stop "/usr/sbin/wanfail backup" # always`: {"notify_stop", "/usr/sbin/wanfail backup"},
		`vrrp_instance VI_1 {`:                              {"vrrp_instance", "VI_1", "{"},
		`virtual_ipaddress {192.0.2.1/24}`:                  {"virtual_ipaddress", "{", "192.0.2.1/24", "}"},
		`! comment`:                                         nil, `a "!" c!d`: {"a", "!", "c"}, ``: nil,
	} {
		if got := splitLine(uncomment(line)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// What keepalived reads, and how: comments, continued lines, definitions, lines for
// one router only, files in files.
func TestKeepalivedSyntax(t *testing.T) {
	h := newHost(t)
	h.write("/proc/sys/kernel/hostname", "ar1.example\n")
	h.process(7, "keepalived", "0", "/usr/sbin/keepalived", "--use-file", "/srv/k.conf", "-D")
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
	k, err := Find(h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Instances) != 2 {
		t.Fatalf("%d instances", len(k.Instances))
	}
	one, six := k.Instances[0], k.Instances[1]
	if one.Name != "VI_1" || one.Interface != "eth1" || one.Priority != 100 || one.Version != 3 || len(one.Ours()) != 4 || six.Version != 3 {
		t.Errorf("got %+v and %+v", one, six)
	}
}

func TestEndlessIncludes(t *testing.T) {
	h := newHost(t)
	h.write("/k.conf", strings.Repeat("include /k.conf\n", 10))
	if _, err := Load(h.Tree, "/k.conf"); err == nil || !strings.Contains(err.Error(), "files are included") {
		t.Errorf("got %v", err)
	}
}
