package matrix

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wanfail/wanfail/lab/image"
	"github.com/wanfail/wanfail/lab/nstest"
)

var long = flag.Bool("long", false, "also wait for leases of minutes to expire")

// envBinary names a wanfail to test; without it, the one of this checkout is
// built.
const envBinary = "LAB_BINARY"

// atOnce is how many cases run at once unless -parallel says otherwise. They
// wait most of the time, so it has nothing to do with the number of CPUs.
const atOnce = "12"

func TestMain(m *testing.M) {
	if os.Getenv(envBinary) == "" {
		path, err := build()
		if err == nil {
			err = os.Setenv(envBinary, path)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "matrix:", err)
			os.Exit(1)
		}
	}
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	nstest.Main(m)
}

// build makes the binary as it is shipped.
func build() (string, error) {
	root, err := image.Repository()
	if err != nil {
		return "", err
	}
	cache, err := image.Cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "matrix", "wanfail")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", path, ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build wanfail: %w\n%s", err, out)
	}
	return path, nil
}
