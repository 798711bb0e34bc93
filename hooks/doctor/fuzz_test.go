package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wanfail/wanfail/hooks/files"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

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
		k, err := keepalived.Load(files.Tree{Root: root}, "/k.conf")
		if err == nil {
			Examine(&Facts{Keepalived: k})
		}
	})
}
