package rundir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Acquire takes an exclusive flock(2) on l, creating the file, and returns how to
// release it. The kernel releases it when the process dies.
func (l Lock) Acquire() (unlock func(), err error) {
	f, err := l.Open()
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", l, err)
	}
	return func() { _ = f.Close() }, nil
}

// AcquireWithin is Acquire for at most limit, then context.DeadlineExceeded, and no
// longer than ctx.
func (l Lock) AcquireWithin(ctx context.Context, limit time.Duration) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f, err := l.Open()
	if err != nil {
		return nil, err
	}
	locked, err := AcquireFile(ctx, f)
	switch {
	case err == nil:
		return func() { _ = locked.Close() }, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil, err
	}
	return nil, fmt.Errorf("lock %s: %w", l, err)
}

// AcquireFile takes an exclusive flock(2) on an open file that nobody else uses, no
// later than the end of ctx. It returns the file, or another one that was opened
// for the same lock, whose end releases it; without the lock f is closed.
func AcquireFile(ctx context.Context, f *os.File) (*os.File, error) {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return queueFor(ctx, f)
	}
	_ = f.Close()
	return nil, err
}

// flock is flock(2), which a signal may interrupt. It does not call Fd, which would
// take the file from the runtime's poller.
func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) {
		for {
			err = unix.Flock(int(fd), how)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// A blocked flock(2) cannot be cancelled: it keeps its thread and its descriptor
// until the holder releases the lock, which one that was stopped may never do. So
// of all that wait in this process for the same file only one goroutine blocks,
// and it stays when the one that it waited for has given up: the next one finds
// it waiting already.
var lockQueues = struct {
	sync.Mutex
	of map[lockKey]*lockQueue
}{of: map[lockKey]*lockQueue{}}

// lockKey names a file, whatever its path.
type lockKey struct{ dev, ino uint64 }

// lockQueue are those that wait for one file, in order.
type lockQueue struct{ waiting []*lockWaiter }

type lockWaiter struct {
	f    *os.File // its own open file, nil once the goroutine uses it
	turn chan lockTurn
}

type lockTurn struct {
	f   *os.File // locked
	err error
}

// queueFor waits for the lock on f, which it closes or returns.
func queueFor(ctx context.Context, f *os.File) (*os.File, error) {
	key, err := keyOf(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	w := &lockWaiter{f: f, turn: make(chan lockTurn, 1)}
	lockQueues.Lock()
	q := lockQueues.of[key]
	if q == nil {
		q = &lockQueue{}
		lockQueues.of[key] = q
		w.f = nil
		go q.block(key, f)
	}
	q.waiting = append(q.waiting, w)
	lockQueues.Unlock()
	select {
	case t := <-w.turn:
		return t.f, t.err
	case <-ctx.Done():
	}
	lockQueues.Lock()
	q.waiting = slices.DeleteFunc(q.waiting, func(o *lockWaiter) bool { return o == w })
	if w.f != nil {
		_ = w.f.Close()
	}
	lockQueues.Unlock()
	select {
	case t := <-w.turn: // at the same moment
		return t.f, t.err
	default:
		return nil, ctx.Err()
	}
}

// block waits for the lock on f and gives it to the first that waits, until
// none is left.
func (q *lockQueue) block(key lockKey, f *os.File) {
	for f != nil {
		err := flock(f, unix.LOCK_EX)
		f = q.pass(key, f, err)
	}
}

// pass gives the outcome of a wait to the first in the queue and returns the
// file with which to wait for the next one, if any.
func (q *lockQueue) pass(key lockKey, f *os.File, err error) (next *os.File) {
	lockQueues.Lock()
	defer lockQueues.Unlock()
	if err != nil || len(q.waiting) == 0 {
		_ = f.Close()
		f = nil
	}
	if len(q.waiting) > 0 {
		w := q.waiting[0]
		q.waiting = q.waiting[1:]
		if w.f != nil {
			_ = w.f.Close()
			w.f = nil
		}
		w.turn <- lockTurn{f, err}
	}
	if len(q.waiting) == 0 {
		delete(lockQueues.of, key)
		return nil
	}
	w := q.waiting[0]
	next, w.f = w.f, nil
	return next
}

func keyOf(f *os.File) (lockKey, error) {
	info, err := f.Stat()
	if err != nil {
		return lockKey{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return lockKey{}, fmt.Errorf("%s: no inode number", f.Name())
	}
	return lockKey{uint64(st.Dev), st.Ino}, nil // Dev has 32 bits on MIPS
}
