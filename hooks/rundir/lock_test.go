package rundir

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLockWithin(t *testing.T) {
	lock := At(t.TempDir()).IntentLock()
	unlock, err := lock.AcquireWithin(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.AcquireWithin(t.Context(), 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the lock is held, and a second call ends with %v", err)
	}
	unlock()
	again, err := lock.AcquireWithin(t.Context(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// Any number of calls that wait at once get the lock one after the other.
func TestLockQueue(t *testing.T) {
	lock := At(t.TempDir()).IntentLock()
	unlock, err := lock.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	var holders, had atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			limit := time.Minute
			if i%5 == 0 {
				limit = time.Duration(i) * time.Millisecond // some give up meanwhile
			}
			unlock, err := lock.AcquireWithin(t.Context(), limit)
			if err != nil {
				if i%5 != 0 {
					t.Error(err)
				}
				return
			}
			if holders.Add(1) != 1 {
				t.Error("two hold the lock")
			}
			had.Add(1)
			holders.Add(-1)
			unlock()
		})
	}
	time.AfterFunc(20*time.Millisecond, unlock)
	wg.Wait()
	if had.Load() < 40 {
		t.Errorf("%d calls got the lock, want 40 at least", had.Load())
	}
}

// A holder that was stopped keeps its lock: whoever gives up waiting for it must
// leave neither a thread nor a descriptor behind.
func TestLockWithinLeaksNothing(t *testing.T) {
	lock := At(t.TempDir()).IntentLock()
	unlock, err := lock.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const files, threads = "/proc/self/fd", "/proc/self/task"
	fds, tids := count(files), count(threads)
	for range 40 {
		if _, err := lock.AcquireWithin(t.Context(), 3*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the lock is held, and the call ends with %v", err)
		}
	}
	// The runtime starts a few threads of its own.
	if n := count(files); n > fds+1 {
		t.Errorf("%d descriptors before, %d after", fds, n)
	}
	if n := count(threads); n > tids+5 {
		t.Errorf("%d threads before, %d after", tids, n)
	}
	unlock()
	// A wait that was given up releases the lock at once when it gets it.
	if out, err := exec.Command("flock", "-w", "10", lock.String(), "true").CombinedOutput(); err != nil {
		t.Errorf("the lock is held although nobody wants it: %v: %s", err, out)
	}
	for end := time.Now().Add(10 * time.Second); count(files) > fds; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors before, %d after the holder's end", fds, count(files))
		}
	}
}
