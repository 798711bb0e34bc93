package doctor

import (
	"context"
	"time"

	"github.com/wanfail/wanfail/hooks/files"
)

// System is where facts come from: this computer, or a directory of a test.
type System struct {
	files.Tree
	// Run runs a program and returns what it printed, with an error if it has failed.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	Now func() time.Time
}
