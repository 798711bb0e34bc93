package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// network is what a keeper needs of package netif.
type network interface {
	kernel
	RaiseParent(ctx context.Context, l netif.Link, known int) (index int, raised bool, err error)
	PurgeOrphans(ctx context.Context, configured []netif.Link) ([]string, error)
	MuteOrphans(ctx context.Context, configured []netif.Link) error
	EnsureBackupDefault(ctx context.Context, gateway netip.Addr) (bool, error)
	RemoveBackupDefault(ctx context.Context) (bool, error)
	Watch(ctx context.Context) (<-chan netif.Event, error)
}

// Options are what a keeper is made of.
type Options struct {
	Config     config.Config
	RunDir     rundir.Dir
	Version    string
	Log        *slog.Logger
	Network    network
	Services   services.Manager
	Replica    replica // nil: connections are not replicated
	Publishers []Publisher
	Ready      func() // called once the keeper answers hooks
	// Alive is called that often after a round through everything that must not
	// hang; 0: nobody wants to know.
	Alive      func()
	AliveEvery time.Duration
	// Roles, if not nil, is told of each role of the router. It must not block.
	Roles func(role intent.Role, by string)
	// Step, if not nil, is called before and after what changes something outside
	// of this process, with a name for it. Tests end the process there.
	Step func(name string)
}

// Keeper makes one router match the newest intent.
type Keeper struct {
	Options
	log   *slog.Logger
	store *intent.Store
	work  *queue[func()] // for the loop
	tasks sync.WaitGroup
	stop  context.CancelCauseFunc // ends Run with an error

	uplinks     []*uplink
	daemons     *daemons
	replication *replication
	fallback    *fallback
	ports       *ports
	recorder    *recorder
	known       atomic.Pointer[intent.Intents] // to the machine, for the uplinks

	// What follows belongs to the loop.
	machine    *router.Machine
	events     []router.Event // of the work at hand, which the machine has not taken
	owners     map[intent.Process]context.CancelFunc
	standIns   map[intent.Process]string // readers of FIFOs in whose place the keeper reads, a warning each
	recorded   *intent.Intents           // read from the record meanwhile
	unrecorded bool                      // an intent came that is to be put on record
	unreadable string                    // why the record could not be read last
	noticed    []func()                  // passes the kernel's events to the WANs, after the orders
	fitness    *fitness.Facts            // nil until the first look
	wall       wallClock
	gc         gcTuner
	waiters    map[*waiter]struct{}
	followers  map[signal]struct{}
	asked      bool // the loop's last piece of work was a question, which changes nothing
}

// ErrRunning tells that another keeper drives this run directory.
var ErrRunning = errors.New("another keeper is running")

// ErrUnreachable tells that a keeper ended because no hook can connect to it any more.
var ErrUnreachable = errors.New("somebody removed the keeper's socket")

// lockWait is how long a keeper waits for its lock before it says so: as long as a
// hook may need that purges the WAN on its own.
const lockWait = 10 * time.Second

// New prepares a keeper. Run runs it.
func New(o Options) *Keeper {
	k := &Keeper{
		Options: o, log: o.Log,
		work:      newQueue[func()](nil),
		owners:    map[intent.Process]context.CancelFunc{},
		standIns:  map[intent.Process]string{},
		waiters:   map[*waiter]struct{}{},
		followers: map[signal]struct{}{},
	}
	if k.Step == nil {
		k.Step = func(string) {}
	} else {
		k.Options = k.stepped()
	}
	for i, w := range o.Config.WANs {
		u := newUplink(w, o.Network, o.RunDir.Lease(w.Name), k.Publishers, o.Log,
			func(s wan.State) { k.post(router.Reached{WAN: i, State: s}) })
		u.virtual = o.Config.BackupGateway
		u.overtaken = func() bool { return k.overtaken(u) }
		k.uplinks = append(k.uplinks, u)
	}
	return k
}

// do lets the loop run f. It returns at once.
func (k *Keeper) do(f func()) { k.work.put(f) }

// post hands an event to the router's machine. It returns at once.
func (k *Keeper) post(e router.Event) { k.do(func() { k.events = append(k.events, e) }) }

// task runs f beside the loop until ctx ends. One that ends before ends the
// keeper: the next one does everything, where this one would do a part.
func (k *Keeper) task(ctx context.Context, name string, f func(context.Context) error) {
	k.tasks.Go(func() {
		err := f(ctx)
		if ctx.Err() == nil {
			k.stop(fmt.Errorf("%s ended: %w", name, err))
		}
	})
}

// Run drives the router until ctx ends. It then leaves everything as it is: the
// kernel holds the address for as long as the lease lasts, and the next keeper
// adopts it. It returns ErrRunning if another keeper holds the run directory, and
// an error if a part of it has ended.
func (k *Keeper) Run(parent context.Context) error {
	unlock, err := lockKeeper(parent, k.RunDir, k.log)
	if err != nil {
		return err
	}
	defer unlock()
	if k.store, err = intent.OpenStore(k.RunDir); err != nil {
		return err
	}
	k.gc.start()
	defer k.gc.end()
	ctx, stop := context.WithCancelCause(parent)
	k.stop = stop
	defer k.tasks.Wait()
	defer stop(nil)

	watch, err := rundir.WatchDir(k.RunDir.String(), rundir.IntentFile, rundir.SocketFile)
	if err != nil {
		return err
	}
	defer watch.Close()
	events, err := k.Network.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	socket, err := k.RunDir.Listen()
	if err != nil {
		return fmt.Errorf("listen for hooks: %w", err)
	}
	k.recorder = newRecorder(k.store, k.log)
	k.daemons = newDaemons(k.Services, installed(ctx, k.Options), k.Config.ServicesNamed, k.log, func(s router.Served) { k.post(s) })
	k.replication = newReplication(k.Replica, k.log, func(r router.Replicated) { k.post(r) })
	k.fallback = newFallback(k.Network, k.Config.BackupGateway, k.log)
	k.ports = newPorts(k.Network, k.Config.WANs, k.log)
	k.machine = router.New(routerConfig(k.Options), k.daemons.unseen())
	found := k.adopt(ctx)

	until := func(f func(context.Context)) func(context.Context) error {
		return func(ctx context.Context) error { f(ctx); return errors.New("without a cause") }
	}
	k.task(ctx, "the watch of services", until(k.daemons.run))
	if k.Config.BackupGateway.IsValid() {
		k.task(ctx, "the watch of the backup's route", until(k.fallback.run))
	} else {
		k.tasks.Go(func() { k.fallback.remove(ctx) })
	}
	k.task(ctx, "the watch of the ports", until(k.ports.run))
	k.task(ctx, "the replication of connections", until(k.replication.run))
	k.tasks.Go(func() { k.watchReplica(ctx) })
	k.task(ctx, "the watch of keepalived", until(k.watchFitness))
	for _, u := range k.uplinks {
		k.task(ctx, "the watch of "+u.wan.Name, until(u.run))
	}
	k.task(ctx, "the recorder", until(k.recorder.run))
	k.task(ctx, "the watch of the kernel", func(context.Context) error { return k.route(events) })
	k.task(ctx, "the watch of the run directory", func(ctx context.Context) error { return k.reread(ctx, watch) })
	k.task(ctx, "the socket", until(func(ctx context.Context) { newServer(k.log, k.handle).serve(ctx, socket) }))
	if k.AliveEvery > 0 {
		k.task(ctx, "the watchdog", k.watchdog)
	}
	k.loop(ctx, found)
	if parent.Err() == nil {
		return context.Cause(ctx)
	}
	return nil
}

// routerConfig is what the router's machine has to know.
func routerConfig(o Options) router.Config {
	c := router.Config{Replicated: o.Replica != nil}
	for _, w := range o.Config.WANs {
		c.WANs = append(c.WANs, router.WAN{Name: w.Name, Instance: w.Instance})
	}
	return c
}

// Refresh checks whether everything is as the role wants it and has the platform's
// publishers publish the leases again: netifd, for one, has none after a restart.
// It returns at once.
func (k *Keeper) Refresh() {
	k.do(func() {
		for _, u := range k.uplinks {
			u.tell(wan.Refresh{})
		}
		k.fallback.look()
		k.daemons.checkNow()
	})
}

// reread reloads the record of intents when it is replaced: it counts even if the
// hook that has written it was killed then. Without its socket, or the whole run
// directory, no hook can connect to a keeper: it ends, and the next one makes
// another socket. (inotify does not report the removal of the directory alone: the
// socket keeps it in the kernel.)
func (k *Keeper) reread(ctx context.Context, watch *rundir.DirWatch) error {
	for {
		err := watch.Wait(ctx)
		switch {
		case err == nil:
			if there, err := k.RunDir.Listening(); err == nil && !there {
				return fmt.Errorf("%w: %s", ErrUnreachable, k.RunDir.Path(rundir.SocketFile))
			}
			k.do(k.reload)
		case errors.Is(err, rundir.ErrDirGone):
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		default:
			return err
		}
	}
}

// route passes kernel events to the WANs that they concern.
func (k *Keeper) route(events <-chan netif.Event) error {
	for ev := range events {
		k.fallback.look()
		if ev.Kind == netif.Resync || ev.Kind == netif.LinkChanged || ev.Kind == netif.LinkGone {
			k.ports.look()
		}
		for _, u := range k.uplinks {
			if ev.Kind == netif.Resync || ev.Name == u.wan.Name || ev.Named(u.wan.Parent) || ev.MAC == u.wan.MAC.String() {
				lost := ev.Kind == netif.LinkChanged && ev.Named(u.wan.Parent) && !ev.Carrier
				k.do(func() { k.notice(u, wan.KernelChanged{CarrierLost: lost}) })
			}
		}
	}
	return errors.New("the kernel reports no more events")
}

// notice has a WAN look at the kernel, after the record was read again: a hook that
// mutes the link has recorded its request before, and what a late hook has muted may
// be against the newest request. Without that the first mute would be undone for a
// moment, and the second would stay.
func (k *Keeper) notice(u *uplink, e wan.KernelChanged) {
	k.reload()
	k.noticed = append(k.noticed, func() { u.tell(e) })
}

// overtaken reports whether the record has a request by which the WAN is to be
// backup, and which the loop has not executed yet. Then it does so next. The uplink
// asks before it would undo a change: a hook that mutes the link has recorded its
// request before.
func (k *Keeper) overtaken(u *uplink) bool {
	recorded, err := k.store.Load()
	known := k.known.Load()
	if err != nil || known == nil {
		return false
	}
	for _, i := range *known {
		recorded, _ = recorded.With(i)
	}
	i, ok := recorded.For(u.wan.Instance)
	if !ok || i.Role == intent.Primary {
		return false
	}
	k.do(func() { k.notice(u, wan.KernelChanged{}) })
	return true
}

// adopt looks at what an earlier keeper left, and removes what belongs to no WAN
// of this configuration any more.
func (k *Keeper) adopt(ctx context.Context) (found []router.Found) {
	for _, u := range k.uplinks {
		// A client that was killed may have left its lease file's successor half
		// written; as backup no other would come to replace it.
		k.RunDir.Lease(u.wan.Name).Tidy()
		var f router.Found
		o, err := k.Network.Observe(ctx, wan.Link(u.wan))
		f.State, _ = unattended(u.wan, o, k.RunDir) // until the uplink reports
		if err != nil {
			k.log.Warn("cannot look at the link that may be left of an earlier keeper", "wan", u.wan.Name, "error", err)
		} else {
			f.Up = u.adopt(ctx, o)
			f.Held = o.Owned && len(o.Addresses) > 0
		}
		found = append(found, f)
	}
	removed, err := k.Network.PurgeOrphans(ctx, links(k.Config.WANs))
	if err != nil {
		k.log.Warn("cannot remove what belongs to no WAN any more", "error", err)
	}
	if len(removed) > 0 {
		k.log.Debug("removed links that belong to no WAN any more", "links", removed)
	}
	return found
}

// installed are the services to drive. Of the defaults those that are there; what
// the configuration names must be, and its absence is reported at each start.
func installed(ctx context.Context, o Options) []string {
	if o.Config.ServicesNamed {
		return o.Config.Services
	}
	var names []string
	for _, name := range o.Config.Services {
		if there, err := o.Services.Installed(ctx, name); err != nil {
			o.Log.Warn("cannot tell whether a service is installed", "service", name, "error", err)
		} else if there {
			names = append(names, name)
		}
	}
	return names
}

// answers reports whether a keeper answers in dir. That its socket accepts a
// connection is no proof: one that was just killed has it open for a moment longer.
func answers(ctx context.Context, dir rundir.Dir) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := control.Dial(ctx, dir)
	if err != nil {
		return false
	}
	defer c.Close()
	var r control.Report
	return c.Ask(ctx, control.Request{Op: control.OpStatus}, &r) == nil
}

// lockKeeper takes the lock that makes a keeper, or a hook that acts without one,
// the only one of its run directory. A process that holds it and does not answer is
// no working keeper: a slow hook, or one of the two that was stopped. The lock is
// waited for, since to end without an error would mean that there is a keeper.
func lockKeeper(ctx context.Context, dir rundir.Dir, log *slog.Logger) (unlock func(), err error) {
	if _, err := intent.OpenStore(dir); err != nil { // makes the directory
		return nil, err
	}
	for {
		if answers(ctx, dir) {
			return nil, ErrRunning
		}
		unlock, err = dir.KeeperLock().AcquireWithin(ctx, lockWait)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return unlock, err
		}
		log.Warn("waiting for the keeper's lock: a process holds it and does not answer", "lock", dir.KeeperLock().String())
	}
}
