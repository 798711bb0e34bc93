package drill

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/files"
)

// A file of track_files, each below a directory of root's.
func trackFile(t *testing.T, text string) (tree files.Tree, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "drill")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return files.Tree{Root: "/"}, path
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is written goes to the file that was locked, whatever has its name by then.
func TestExchangedTrackFile(t *testing.T) {
	tree, path := trackFile(t, "0\n")
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("root's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Lock(tree, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.Rename(path, path+".old"), os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{Lowered, 0} {
		if err := l.Write(n); err != nil {
			t.Fatal(err)
		}
		want := map[int]string{Lowered: "-253\n", 0: "0\n"}[n]
		if got := content(t, path+".old"); got != want {
			t.Errorf("the locked file holds %q, want %q", got, want)
		}
	}
	if got := content(t, victim); got != "root's\n" {
		t.Errorf("the file that the link names holds %q", got)
	}
}

// What a drill refuses to write, and says of it.
func TestLock(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		change func(path string) error
		says   string
	}{
		"zero":                           {"0\n", nil, ""},
		"empty":                          {"", nil, ""},
		"left":                           {"-253\n", nil, "no drill runs: one was killed"},
		"what is no number is not shown": {"root:secret", nil, "holds no number"},
		"link":                           {"0\n", func(p string) error { return errors.Join(os.Rename(p, p+".x"), os.Symlink(p+".x", p)) }, "is a symbolic link"},
		"a user's":                       {"0\n", func(p string) error { return os.Chown(p, 1, 1) }, "belongs to uid 1"},
		"a user's directory":             {"0\n", func(p string) error { return os.Chown(filepath.Dir(p), 1, 1) }, "belongs to uid 1"},
		"not there":                      {"0\n", os.Remove, "keepalived makes it"},
		"another drill": {"0\n", func(p string) error {
			_, err := Lock(files.Tree{Root: "/"}, []string{p})
			return err
		}, "another drill runs"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, path := trackFile(t, c.text)
			if c.change != nil {
				if err := c.change(path); err != nil {
					t.Fatal(err)
				}
			}
			l, err := Lock(tree, []string{path})
			if err == nil {
				l.Close()
			}
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}
