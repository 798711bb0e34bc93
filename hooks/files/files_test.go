package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newTree is a file system whose root is only root's to change.
func newTree(t *testing.T) Tree {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return Tree{Root: root}
}

func (t Tree) write(tb testing.TB, name, text string, mode os.FileMode) {
	tb.Helper()
	path := filepath.Join(t.Root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		tb.Fatal(err)
	}
}

// A pattern that matches the whole disk costs no more than a few thousand names.
func TestGlobBounded(t *testing.T) {
	tree := newTree(t)
	tree.write(t, "/usr/sbin/wanfail", "", 0o755)
	for i := range MaxNames + 1 {
		tree.write(t, fmt.Sprintf("/many/%d/x", i), "", 0o644)
	}
	for pattern, want := range map[string]int{"/many/7/x": 1, "/many/*/x": 0, "/*/sbin/wan[a-z]*": 1, "/many/{7,8}/{x,y}": 2} {
		if got := tree.Glob(pattern); len(got) != want {
			t.Errorf("%s: %d names", pattern, len(got))
		}
	}
}

// What is not a regular file is not opened: a FIFO without a writer would hold
// the reader for ever.
func TestReadRegularFilesOnly(t *testing.T) {
	tree := newTree(t)
	if err := syscall.Mkfifo(filepath.Join(tree.Root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree.write(t, "/large", strings.Repeat("x", MaxSize+1), 0o644)
	tree.write(t, "/most", strings.Repeat("x", MaxSize), 0o644)
	for name, want := range map[string]error{"/fifo": ErrNotRegular, "/": ErrNotRegular, "/none": fs.ErrNotExist} {
		if _, err := tree.Read(name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if tree.Locked(name) || tree.Text(name) != "" || tree.Mentions(name, "") {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := tree.Read("/large"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
	if b, err := tree.Read("/most"); err != nil || len(b) != MaxSize {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestProcesses(t *testing.T) {
	tree := newTree(t)
	for _, pid := range []string{"100", "9", "1000", "self", "0x7"} {
		tree.write(t, "/proc/"+pid+"/comm", "", 0o644)
	}
	if got := fmt.Sprint(tree.Processes()); got != "[9 100 1000]" {
		t.Errorf("got %s", got)
	}
}

// A file is root's alone only if all that leads to it is.
func TestOpenOwned(t *testing.T) {
	for name, c := range map[string]struct {
		change       func(tree Tree, path func(string) string) error
		open         string
		says, linked string // errors of OpenOwned and Owned, "" for none
	}{
		"plain":         {open: "/run/x"},
		"link on a way": {func(_ Tree, p func(string) string) error { return os.Symlink("/run", p("/var/run")) }, "/var/run/x", "", ""},
		"relative link": {func(_ Tree, p func(string) string) error { return os.Symlink("../run", p("/var/run")) }, "/var/run/x", "", ""},
		"user's link": {func(_ Tree, p func(string) string) error {
			return errors.Join(os.Symlink("/run", p("/var/run")), os.Lchown(p("/var/run"), 1, 1))
		}, "/var/run/x", "/var/run belongs to uid 1", "/var/run belongs to uid 1"},
		"link at last": {func(_ Tree, p func(string) string) error { return os.Symlink("/run/x", p("/var/x")) }, "/var/x", "is a symbolic link", ""},
		"hard link":    {func(_ Tree, p func(string) string) error { return os.Link(p("/run/x"), p("/var/x")) }, "/var/x", "second name", "second name"},
		"user's file":  {func(_ Tree, p func(string) string) error { return os.Chown(p("/run/x"), 1, 0) }, "/run/x", "belongs to uid 1", "belongs to uid 1"},
		"writable":     {func(_ Tree, p func(string) string) error { return os.Chmod(p("/run/x"), 0o646) }, "/run/x", "may be written by others", "may be written by others"},
		"root's group": {func(_ Tree, p func(string) string) error { return os.Chmod(p("/run/x"), 0o664) }, "/run/x", "", ""},
		"another group": {func(_ Tree, p func(string) string) error {
			return errors.Join(os.Chown(p("/run/x"), 0, 1), os.Chmod(p("/run/x"), 0o664))
		}, "/run/x", "may be written by others", "may be written by others"},
		"user's folder":  {func(_ Tree, p func(string) string) error { return os.Chown(p("/run"), 1, 0) }, "/run/x", "/run belongs to uid 1", "/run belongs to uid 1"},
		"open folder":    {func(_ Tree, p func(string) string) error { return os.Chmod(p("/run"), 0o777) }, "/run/x", "/run may be written", "/run may be written"},
		"sticky folder":  {func(_ Tree, p func(string) string) error { return os.Chmod(p("/run"), 0o777|os.ModeSticky) }, "/run/x", "", ""},
		"above":          {func(_ Tree, p func(string) string) error { return os.Chmod(p("/run"), 0o777) }, "/run/../run/x", "/run may be written", "/run may be written"},
		"endless":        {func(_ Tree, p func(string) string) error { return os.Symlink("loop", p("/var/loop")) }, "/var/loop/x", "too many levels", "too many levels"},
		"FIFO":           {func(_ Tree, p func(string) string) error { return syscall.Mkfifo(p("/var/x"), 0o644) }, "/var/x", "not a regular file", "not a regular file"},
		"directory":      {open: "/run", says: "not a regular file", linked: "not a regular file"},
		"not there":      {open: "/run/y", says: "no such file", linked: "no such file"},
		"not there, dir": {open: "/runs/y", says: "no such file", linked: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := newTree(t)
			tree.write(t, "/run/x", "0\n", 0o644)
			tree.write(t, "/var/y", "", 0o644)
			if c.change != nil {
				if err := c.change(tree, tree.path); err != nil {
					t.Fatal(err)
				}
			}
			f, err := tree.OpenOwned(c.open)
			if err == nil {
				_ = f.Close()
			}
			check := func(err error, want string) {
				t.Helper()
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			check(err, c.says)
			check(tree.Owned(c.open), c.linked)
		})
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"/run/x.y": "/run/x.y", "": "''", "a b": "'a b'", "$(id)": "'$(id)'", "it's": `'it'\''s'`, "a;b": "'a;b'",
		"a\nb": "'a?b'", "\x1b[2J": "'?[2J'", "\u202ex": "'?x'", "~root": "'~root'",
	} {
		if got := Quote(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
