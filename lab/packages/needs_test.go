package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// needs runs lab/needs.sh on a Debian 12, the lab's image, which has none of the
// packages of the demo; apt-get writes down what it is asked to do.
func needs(t *testing.T, user string, targets ...string) (out, calls string, code int) {
	t.Helper()
	image := os.Getenv("LAB_IMAGE")
	if image == "" {
		t.Fatal("LAB_IMAGE is not set: `make unit` builds the image and names it (or: LAB_IMAGE=$(go run ./lab/cmd/lab image))")
	}
	script, err := filepath.Abs("../needs.sh")
	if err != nil {
		t.Fatal(err)
	}
	// In mounts of its own: nothing is written to the image.
	const inside = `set -eu
image=$1 script=$2 user=$3
shift 3
mount -t tmpfs -o mode=1777 tmpfs "$image/tmp"
mkdir "$image/tmp/bin"
cp "$script" "$image/tmp/needs.sh"
printf '#!/bin/sh\necho "apt-get $*" >>/tmp/calls\n' >"$image/tmp/bin/apt-get"
chmod 755 "$image/tmp/bin/apt-get"
set +e
chroot --userspec="$user" "$image" env PATH=/tmp/bin:/usr/bin:/bin /tmp/needs.sh "$@"
code=$?
echo ---
cat "$image/tmp/calls" 2>/dev/null
exit $code`
	cmd := exec.Command("unshare", append([]string{"--mount", "--", "sh", "-c", inside, "sh", image, script, user}, targets...)...)
	raw, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("unshare (needs root): %v", err)
	}
	out, calls, ok := strings.Cut(string(raw), "---\n")
	if !ok {
		t.Fatalf("lab/needs.sh did not run: %s", raw)
	}
	return out, calls, cmd.ProcessState.ExitCode()
}

// On a computer that has only Go, git and make root gets what is missing and is
// told so, and anybody else gets one line to paste. The demo needs neither the
// shells nor the emulators of the tests.
func TestNeeds(t *testing.T) {
	out, calls, code := needs(t, "0:0", "demo")
	const install = "apt-get update -q\napt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "
	if code != 0 || out != "make demo: installing debootstrap ca-certificates\n" || calls != install+"debootstrap ca-certificates\n" {
		t.Errorf("demo as root: exit code %d, output %q, calls %q", code, out, calls)
	}

	out, calls, code = needs(t, "0:0", "lint")
	if code != 0 || calls != install+"shellcheck\n" {
		t.Errorf("lint as root: exit code %d, output %q, calls %q", code, out, calls)
	}

	out, calls, code = needs(t, "65534:65534", "test")
	if code != 1 || calls != "" {
		t.Errorf("test as another user: exit code %d, calls %q", code, calls)
	}
	line := regexp.MustCompile(`(?m)^sudo apt-get update && sudo apt-get install -y --no-install-recommends ([a-z0-9 -]+)$`).FindStringSubmatch(out)
	if line == nil || strings.Count(out, "\n") != 2 {
		t.Fatalf("test as another user: output %q", out)
	}
	packages := " " + line[1] + " "
	for _, p := range []string{"debootstrap", "gcc", "busybox-static", "qemu-user-static", "zsh", "fish", "shellcheck"} {
		if strings.Count(packages, " "+p+" ") != 1 {
			t.Errorf("%s is not once in %q", p, line[1])
		}
	}
	if strings.Contains(packages, " iproute2 ") {
		t.Errorf("iproute2 is installed, yet in %q", line[1])
	}

	if out, _, code = needs(t, "0:0", "brew"); code == 0 || !strings.Contains(out, `unknown target "brew"`) {
		t.Errorf("an unknown target: exit code %d, output %q", code, out)
	}
}

// There is one list: what runs on every submission asks the same script.
func TestOneListOfNeeds(t *testing.T) {
	for _, f := range []string{".ci/run", "Makefile", "README.md", "docs/contributing.md"} {
		for _, p := range []string{"debootstrap", "qemu-user-static", "shellcheck "} {
			raw, err := os.ReadFile(filepath.Join(repo, f))
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if regexp.MustCompile(`install [^\n]*` + p).Match(raw) {
				t.Errorf("%s has a list of packages of its own", f)
			}
		}
	}
}
