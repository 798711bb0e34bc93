package rundir

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bootEnv has this binary print the boot of a directory, in the namespaces that it
// was started in.
const bootEnv = "WANFAIL_TEST_BOOT"

// printBoot reports whether that was asked for.
func printBoot() bool {
	dir := os.Getenv(bootEnv)
	if dir == "" {
		return false
	}
	id, err := At(dir).Boot()
	fmt.Printf("boot %q %v\n", id, err)
	return true
}

// Container managers mount a file of theirs over boot_id, and whoever has another
// mount namespace may see the kernel's: both must name the same boot.
func TestBootWithMaskedID(t *testing.T) {
	dir := place(t)
	mask := filepath.Join(t.TempDir(), "boot_id")
	must(t, os.WriteFile(mask, []byte("01234567-89ab-cdef-0123-456789abcdef\n"), 0o644))
	elsewhere := func() string {
		cmd := exec.Command("unshare", "--mount", "sh", "-c",
			"mount --bind "+mask+" /proc/sys/kernel/random/boot_id && exec "+os.Args[0])
		cmd.Env = append(os.Environ(), bootEnv+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, text, _ := strings.Cut(string(out), "boot ")
		text, _, _ = strings.Cut(text, "\n")
		return text
	}
	here := func() string {
		id, err := At(dir).Boot()
		return fmt.Sprintf("%q %v", id, err)
	}
	if a, b := here(), elsewhere(); a != b || !strings.HasSuffix(a, "<nil>") {
		t.Errorf("here the boot is %s, where boot_id is masked it is %s", a, b)
	}

	// An unreadable one is no obstacle there, either; on a disk it is.
	must(t, os.WriteFile(mask, nil, 0o644))
	must(t, unix.Mount(mask, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount("/proc/sys/kernel/random/boot_id", unix.MNT_DETACH) }()
	if id, err := At(dir).Boot(); err != nil {
		t.Errorf("on a tmpfs: %q, %v", id, err)
	}
	if id, err := At("/usr").Boot(); err == nil {
		t.Errorf("on a disk, with an empty boot_id, the boot is %q", id)
	}
}
