package services

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ownRuns knows which scripts a manager runs itself, and who watches the scripts.
type ownRuns struct {
	mu       sync.Mutex
	running  map[string]int
	watchers map[*scriptWatch]struct{}
}

// begin announces that this process opens or runs the script of a service. What
// the watchers see of that until end is called does not count.
func (o *ownRuns) begin(name string) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running[name]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for w := range o.watchers {
			w.read(o.running)
		}
		if o.running[name]--; o.running[name] == 0 {
			delete(o.running, name)
		}
	}
}

// scriptWatch is an inotify instance for a directory of scripts.
type scriptWatch struct {
	f       *os.File
	names   []string
	pending map[string]bool // guarded by ownRuns.mu
}

// watchPause is the least between two looks at what was run: a script that leaves
// a process behind closes its file once more when that ends.
const watchPause = 200 * time.Millisecond

// Watch tells of each time that somebody else than this manager has run the
// script of one of the services, when it has ended: a person, procd's triggers, a
// boot. Whatever they start or stop is found by asking for the state then, with no
// need to ask all the time. The channel is closed when ctx ends.
//
// What is run while this manager runs the same script cannot be told apart from
// that and goes unnoticed.
func (m *Init) Watch(ctx context.Context, names []string) (<-chan string, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch init scripts: %w", err)
	}
	// A script is open for as long as its shell runs. The directory is watched, since
	// an upgrade replaces the files.
	if _, err := unix.InotifyAddWatch(fd, m.dir, unix.IN_CLOSE_NOWRITE|unix.IN_ONLYDIR); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch init scripts in %s: %w", m.dir, err)
	}
	w := &scriptWatch{f: os.NewFile(uintptr(fd), "inotify of "+m.dir), names: slices.Clone(names), pending: map[string]bool{}}
	m.own.mu.Lock()
	m.own.watchers[w] = struct{}{}
	m.own.mu.Unlock()
	changes := make(chan string)
	stop := context.AfterFunc(ctx, func() { _ = w.f.Close() })
	go func() {
		defer close(changes)
		defer func() {
			m.own.mu.Lock()
			delete(m.own.watchers, w)
			m.own.mu.Unlock()
			if stop() {
				_ = w.f.Close()
			}
		}()
		for w.wait(&m.own) {
			for _, name := range w.take(&m.own) {
				select {
				case changes <- name:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-time.After(watchPause):
			case <-ctx.Done():
				return
			}
		}
	}()
	return changes, nil
}

// wait returns when something was run, or false when the watch has ended.
func (w *scriptWatch) wait(o *ownRuns) bool {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(uintptr) (done bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		w.read(o.running)
		return len(w.pending) > 0
	})
	return err == nil
}

// take returns what was run.
func (w *scriptWatch) take(o *ownRuns) (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range w.pending {
		names = append(names, name)
	}
	clear(w.pending)
	return names
}

// read reads what is there to read, without the scripts that this process runs.
func (w *scriptWatch) read(running map[string]int) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return
	}
	var buf [4096]byte
	_ = raw.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buf[:])
			if err != nil || n <= 0 {
				return
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				mask, length := binary.NativeEndian.Uint32(b[4:]), int(binary.NativeEndian.Uint32(b[12:]))
				end := min(unix.SizeofInotifyEvent+length, len(b))
				name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
				b = b[end:]
				for _, watched := range w.names {
					if running[watched] == 0 && (watched == name || mask&unix.IN_Q_OVERFLOW != 0) {
						w.pending[watched] = true
					}
				}
			}
		}
	})
}
