package resolver

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the file holds: a link's section can be replaced and removed, nothing
// of another link changes by that, and the same again changes nothing at all.
func FuzzSections(f *testing.F) {
	f.Add([]byte(headline + "# link wan\nnameserver 192.0.2.1\n# link lte\nnameserver 192.0.2.2\n"))
	f.Add([]byte("nameserver 6.6.6.6\n# link \n# link ../x\n# link wan\n# link wan\r\nx"))
	f.Fuzz(func(t *testing.T, old []byte) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(path, old, 0o644); err != nil {
			t.Fatal(err)
		}
		target := file{pathFile(path)}
		const mine = "nameserver 192.0.2.9\n"
		if err := target.replace("zz", mine); err != nil {
			t.Fatal(err)
		}
		once, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(once), section+"zz\n"+mine) && !strings.Contains(string(once), section+"zz\n"+mine+section) {
			t.Fatalf("%q: %v", once, err)
		}
		if err := target.replace("zz", mine); err != nil {
			t.Fatal(err)
		}
		if again, _ := os.ReadFile(path); !bytes.Equal(again, once) {
			t.Fatalf("%q became %q", once, again)
		}
		if err := target.replace("zz", ""); err != nil {
			t.Fatal(err)
		}
		rest, _ := os.ReadFile(path)
		if want := strings.Replace(string(once), section+"zz\n"+mine, "", 1); string(rest) != want && !(want == headline && len(rest) == 0) {
			t.Fatalf("%q is left of %q", rest, once)
		}
	})
}
