package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/wanfail/wanfail/lab/image"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// Inputs is what a lab takes from the computer.
type Inputs struct {
	// Binary is the wanfail under test. Empty: a lab without it (SchemeScript).
	Binary string
	// Progress is told how the image is coming along.
	Progress image.Progress
}

// Main never returns. It calls prepare on the computer as it is, builds the
// image where there is none yet, and then runs this program again in namespaces
// of its own, where it calls run; its result is the exit code.
//
// The end of the process that the user started, by whatever signal, is the end
// of every process of the lab.
func Main(prepare func(context.Context) (Inputs, error), run func() int) {
	sandbox.Main(func(ctx context.Context) (sandbox.Files, error) {
		in, err := prepare(ctx)
		if err != nil {
			return sandbox.Files{}, err
		}
		progress := in.Progress
		if progress == nil {
			progress = func(float64, string) {}
		}
		files := sandbox.Files{}
		if files.Image, err = image.Ensure(ctx, progress); err != nil {
			return files, err
		}
		if root, err := image.Repository(); err == nil {
			files.Repo = root
		}
		if in.Binary != "" {
			if files.Binary, err = filepath.Abs(in.Binary); err != nil {
				return files, err
			}
		}
		return files, nil
	}, run)
}

// errNoBinary says what is missing for SchemeWanfail.
var errNoBinary = errors.New("no wanfail binary was given to lab.Main")

// serviceUnit is the systemd unit that is installed with the binary: the one of
// the checkout.
func serviceUnit() ([]byte, error) {
	return os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging/systemd/wanfail.service"))
}

func hasBinary() bool {
	_, err := os.Stat(sandbox.BinaryFile)
	return err == nil
}

func program() ([]byte, error) {
	if !hasBinary() {
		return nil, errNoBinary
	}
	return os.ReadFile(sandbox.BinaryFile)
}
