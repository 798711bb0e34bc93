package hooks

import (
	"errors"
	"io/fs"

	"github.com/wanfail/wanfail/hooks/rundir"
)

// ReadIntents returns what is recorded in a run directory, as Store.Load and
// Store.States do, and changes nothing there: for those who only look.
func ReadIntents(dir rundir.Dir) (Intents, States, error) {
	boot, err := dir.Boot()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := (&Store{dir: dir, boot: boot}).load()
	return f.Intents, f.States, err
}
