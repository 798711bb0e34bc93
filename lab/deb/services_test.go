package deb

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// TestServices runs the tests of package services that need a systemd of their
// own on a router.
func TestServices(t *testing.T) {
	w := build(t, 90*time.Second)
	r := w.l.Router(0)
	b, err := os.ReadFile(filepath.Join(sandbox.RepoDir, built, "services"))
	w.must(err)
	w.must(r.WriteFile("/var/tmp/services", string(b), 0o755))
	out, err := r.Run(w.ctx, "/var/tmp/services", "-test.v")
	w.Logf("%s", out)
	w.must(err)
}
