package userhooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/services/command"
)

// Dir is where the scripts are.
const Dir = "/etc/wanfail/hooks.d"

const (
	// limit is how long one script may run.
	limit = 30 * time.Second
	// roleDelay is how long scripts wait after a change of role: they must not
	// compete with the failover for one slow CPU.
	roleDelay = time.Second
	// backlog is how many events may wait. Beyond, the oldest is dropped.
	backlog = 64
	// maxOutput is how much a script may print, shownOutput how much of that the log
	// has.
	maxOutput   = 1 << 20
	shownOutput = 2048
	niceness    = 10
)

// Runner runs scripts. It is a keeper.Publisher; Role passes it the router's role.
type Runner struct {
	dir       string
	log       *slog.Logger
	limit     time.Duration
	roleDelay time.Duration
	unit      string // systemd-run, see Outside

	told delivered // belongs to Run

	mu    sync.Mutex
	queue []event
	wake  chan struct{}
	known state // with what is in the queue
}

// New returns a Runner of the scripts in dir. The events that they were called for
// are recorded in file, so that the next Runner calls them for the rest. Run runs it.
func New(dir string, file rundir.File, log *slog.Logger) *Runner {
	r := &Runner{dir: dir, log: log, limit: limit, roleDelay: roleDelay, wake: make(chan struct{}, 1)}
	r.told = loadDelivered(file, log)
	r.known = r.told.clone()
	return r
}

// Outside lets systemd run the scripts, where it runs the machine: the keeper's
// service is a sandbox in which none could send a mail or write a file. Scripts
// then outlive a keeper that ends; their own limit still holds.
func (r *Runner) Outside() *Runner {
	const systemdRun = "/usr/bin/systemd-run"
	if info, err := os.Stat("/run/systemd/system"); err != nil || !info.IsDir() { // sd_booted(3)
		return r
	}
	if _, err := os.Stat(systemdRun); err == nil {
		r.unit = systemdRun
	}
	return r
}

// String implements keeper.Publisher.
func (*Runner) String() string { return "user scripts" }

// Role adds an event for the router's role, if it is another than before. It does
// not wait.
func (r *Runner) Role(role intent.Role, by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known.Role != role.String() {
		r.add(event{name: role.String(), role: role, by: by})
	}
}

// Publish implements keeper.Publisher. A renewal that changes nothing but the
// time is no event. It does not wait.
func (r *Runner) Publish(_ context.Context, wan config.WAN, l *dhcp.Lease) error {
	r.lease(wan, l)
	return nil
}

// Withdraw implements keeper.Publisher. It does not wait.
func (r *Runner) Withdraw(_ context.Context, wan config.WAN) error {
	r.lease(wan, nil)
	return nil
}

// Only tells that the leases of other WANs are lost: the configuration has been
// changed between an earlier keeper and this one. Run comes later.
func (r *Runner) Only(wans []config.WAN) {
	for name := range r.told.Leases {
		if !slices.ContainsFunc(wans, func(w config.WAN) bool { return w.Name == name }) {
			r.lease(config.WAN{Name: name}, nil)
		}
	}
}

func (r *Runner) lease(wan config.WAN, l *dhcp.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.known.Leases[wan.Name]
	if name := dhcp.Event(old, l); name != "" {
		r.add(event{name: name, wan: wan, lease: l, old: old})
	}
}

// add puts an event into the queue, under the lock.
func (r *Runner) add(e event) {
	e.at = time.Now()
	r.known.take(e)
	if len(r.queue) == backlog {
		r.log.Warn("scripts are far behind, an event is left out: why do they take so long?", "event", r.queue[0].name)
		r.queue = r.queue[1:]
	}
	r.queue = append(r.queue, e)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Runner) next() (e event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return event{}, false
	}
	e, r.queue = r.queue[0], r.queue[1:]
	return e, true
}

// Run runs the scripts of each event until ctx ends, and ends those that run
// then.
func (r *Runner) Run(ctx context.Context) {
	for {
		e, ok := r.next()
		if !ok {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if e.ofRole() {
			select {
			case <-time.After(time.Until(e.at.Add(r.roleDelay))):
			case <-ctx.Done():
				return
			}
		}
		if r.runAll(ctx, e) {
			r.told.note(e, r.log)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// runAll runs the scripts. It returns whether there were any, and none was cut
// off by the end of ctx.
func (r *Runner) runAll(ctx context.Context, e event) (ran bool) {
	scripts, err := r.scripts()
	if err != nil {
		r.log.Warn("cannot run scripts", "event", e.name, "error", err)
	}
	var all sync.WaitGroup
	var cut atomic.Bool
	for _, path := range scripts {
		all.Go(func() {
			if err := r.run(ctx, path, e); err != nil && ctx.Err() != nil {
				cut.Store(true)
			}
		})
	}
	all.Wait()
	return len(scripts) > 0 && !cut.Load()
}

// Names are the scripts that would run.
func (r *Runner) Names() (names []string, err error) {
	paths, err := r.scripts()
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names, err
}

// scripts are the executables in the directory. What others than root could have
// written is refused: it would run as root. Names as of backups and packages'
// leftovers are passed over.
func (r *Runner) scripts() (paths []string, err error) {
	if err := trusted(r.dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	entries, err := os.ReadDir(r.dir)
	var errs []error
	for _, entry := range entries {
		path := filepath.Join(r.dir, entry.Name())
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || !plainName(entry.Name()) {
			continue
		}
		if err := trusted(path); err != nil {
			errs = append(errs, err)
			continue
		}
		paths = append(paths, path)
	}
	return paths, errors.Join(append(errs, err)...)
}

// plainName accepts what run-parts(8) does, with dots inside.
func plainName(name string) bool {
	if name[0] == '.' || strings.HasSuffix(name, ".bak") || strings.Contains(name, ".dpkg-") || strings.HasSuffix(name, "-opkg") || strings.HasSuffix(name, ".apk-new") {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if info.Mode()&0o022 != 0 || !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user or may be written by others: chown root, chmod go-w", path)
	}
	return nil
}

func (r *Runner) run(ctx context.Context, path string, e event) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit, fmt.Errorf("not done within %v", r.limit))
	defer cancel()
	start := time.Now()
	c := command.Command{Path: path, Args: []string{e.name}, Env: e.environment(), Nice: niceness, Output: maxOutput}
	if r.unit != "" {
		c = r.asUnit(c, e)
	}
	out, err := c.Run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	out = out[:min(len(out), shownOutput)]
	log := r.log.With("script", filepath.Base(path), "event", e.name, "took", time.Since(start).Round(time.Millisecond))
	if err != nil {
		log.Warn("script failed", "error", err, "output", out)
		return err
	}
	log.Debug("script ran", "output", out)
	return nil
}

// asUnit runs a command in a transient unit.
func (r *Runner) asUnit(c command.Command, e event) command.Command {
	args := []string{
		"--quiet", "--pipe", "--wait", "--collect", "--nice=" + strconv.Itoa(niceness),
		fmt.Sprintf("--property=RuntimeMaxSec=%d", max(1, int(r.limit.Seconds()))),
	}
	for _, v := range e.environment() {
		args = append(args, "--setenv="+v)
	}
	args = append(append(args, "--", c.Path), c.Args...)
	c.Path, c.Args = r.unit, args
	return c
}
