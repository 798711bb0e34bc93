package intent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks/rundir"
)

// RecordLimit is how long a hook waits while others record before it goes on:
// keepalived kills a stop hook after a second.
const RecordLimit = 500 * time.Millisecond

// Store is the record of intents in the run directory.
type Store struct {
	dir  rundir.Dir
	boot string
}

// maxFile bounds what is read: a few hundred scopes at the longest.
const maxFile = 1 << 18

// OpenStore makes the run directory if need be and returns its store.
func OpenStore(dir rundir.Dir) (*Store, error) {
	if err := dir.Make(); err != nil {
		return nil, err
	}
	boot, err := dir.Boot()
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, boot: boot}, nil
}

// Load returns what is recorded. No record, and a record of another boot, is
// none; an unreadable one is none and an error, so that the caller stays backup
// and says why.
func (s *Store) Load() (Intents, error) {
	f, err := s.load()
	return f.Intents, err
}

// States returns what keepalived reported last, as Load returns the intents.
func (s *Store) States() (States, error) {
	f, err := s.load()
	return f.States, err
}

func (s *Store) load() (file, error) {
	record := s.dir.Intents()
	raw, err := record.Read(maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, nil
	}
	if err != nil {
		return file{}, fmt.Errorf("read intent: %w", err)
	}
	now, err := sinceBoot()
	if err != nil {
		return file{}, err
	}
	f, err := parseRecord(raw, s.boot, now)
	if err != nil {
		return file{}, fmt.Errorf("intent record %s is corrupt, the next hook replaces it: %w", record, err)
	}
	return f, nil
}

// Record stores i unless a newer intent covers all that i covers; then that one is
// returned, and of i only the state that keepalived reported by it is kept.
// Concurrent calls, from any number of processes, leave the newest. Each takes well
// below a millisecond; only a process that was stopped holds the lock for longer,
// which is what limit is for.
//
// When a request to be backup cannot be written, the record is removed if that is
// possible: without a record the router is backup, too.
func (s *Store) Record(i Intent, limit time.Duration) (newer *Intent, err error) {
	unlock, err := s.dir.IntentLock().AcquireWithin(context.Background(), limit)
	if err != nil {
		return nil, fmt.Errorf("lock intent: %w", err)
	}
	defer unlock()
	// A corrupt record cannot be compared with: the given request is the newest known.
	have, loadErr := s.load()
	have.Boot = s.boot
	have.States = have.States.With(i, Process.Gone)
	have.Intents, newer = have.Intents.With(i)
	if newer != nil && !slices.Contains(have.States, i) {
		return newer, nil
	}
	raw, err := json.Marshal(have)
	if err != nil {
		return nil, errors.Join(loadErr, err)
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("record intent: %d instances are too many", len(have.Intents))
	}
	if err := s.dir.Intents().Write(raw); err != nil {
		if newer != nil {
			return newer, nil // the state that is lost is for people only
		}
		if i.Role == Backup {
			_ = s.dir.Intents().Remove()
		}
		return nil, fmt.Errorf("record intent: %w", err)
	}
	return newer, nil
}

// TakeOver makes reader the channel of the intents that an earlier reader of
// keepalived's FIFO recorded. path is the FIFO's.
func (s *Store) TakeOver(keepalived, reader Process, path string) error {
	have, err := s.load()
	if err != nil {
		return err
	}
	for _, i := range slices.Concat(have.Intents, Intents(have.States)) {
		if i.Owner != keepalived || i.Channel == (Process{}) {
			continue
		}
		// With its own token: whatever is newer by now stands.
		i.Channel, i.FIFO = reader, path
		if _, err := s.Record(i, RecordLimit); err != nil {
			return err
		}
	}
	return nil
}

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
