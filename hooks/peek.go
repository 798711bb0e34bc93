package hooks

import "github.com/wanfail/wanfail/hooks/rundir"

// ReadIntents returns what is recorded in a run directory, as Store.Load does,
// and changes nothing there: for those who only look.
func ReadIntents(dir rundir.Dir) (Intents, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	return (&Store{dir: dir, boot: boot}).Load()
}
