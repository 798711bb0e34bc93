package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

// network is what a keeper needs of package netif.
type network interface {
	kernel
	RaiseParent(ctx context.Context, l netif.Link, known int) (index int, raised bool, err error)
	PurgeOrphans(ctx context.Context, configured []netif.Link) ([]string, error)
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
	// Roles, if not nil, is told of each role of the router. It must not block.
	Roles func(role hooks.Role, by string)
	// Step, if not nil, is called before and after what changes something outside
	// of this process, with a name for it. Tests end the process there.
	Step func(name string)
}

// Keeper makes one router match the newest intent.
type Keeper struct {
	Options
	log   *slog.Logger
	store *hooks.Store
	mail  *mailbox        // work for the loop
	life  context.Context // of Run: what a hook starts here must not end with its call
	memo  *recorder

	// What follows belongs to the loop.
	intents     hooks.Intents
	states      hooks.States // what keepalived said last
	owners      map[hooks.Process]*owner
	wans        []*wan
	daemons     *daemons
	serving     target // what daemons was ordered last
	served      served // and what it reported last
	commits     *commits
	fallback    *fallback
	ports       *ports
	gate        <-chan struct{} // opens when the address may receive packets
	resumed     bool            // the replication knows that this router is primary
	replica     string          // what went wrong with its last job
	replicaDown error           // why it would not do one now
	fitness     *fitness.Facts  // nil until the first look
	started     bool
	epoch       int // counts the transitions
	role        hooks.Role
	since       time.Time
	by          string
	release     hooks.Token // of the wish that gives the lease back
	cause       hooks.Token // of the wish that was ordered last
	now         *transition
	past        []hooks.Transition
	memory      memory
	waiters     map[*waiter]struct{}
	followers   map[chan struct{}]struct{}
	asked       bool // the loop's last piece of work was a question, which changes nothing
}

// wan is the loop's view of an uplink.
type wan struct {
	config.WAN
	uplink  *uplink
	ordered order
	state   reached
	adopted bool // an earlier keeper left it up, with an address
	held    bool // it left it with an address, up or mute
}

// settled reports whether the WAN has reached the role that was ordered last.
func (w *wan) settled() bool { return w.state.epoch == w.ordered.epoch && w.state.settled }

// owner is a keepalived that asked for a role.
type owner struct {
	gone   string // what became of it, empty while it lives
	cancel context.CancelFunc
}

// ErrRunning tells that another keeper drives this run directory.
var ErrRunning = errors.New("another keeper is running")

// ErrUnreachable tells that a keeper ended because no hook can reach it any more.
var ErrUnreachable = errors.New("somebody removed the keeper's socket")

// lockWait is how long a keeper waits for its lock: as long as a hook may need
// that purges the WAN on its own.
const lockWait = 10 * time.Second

// New prepares a keeper. Run runs it.
func New(o Options) *Keeper {
	k := &Keeper{
		Options: o, log: o.Log,
		mail:      newMailbox(),
		owners:    map[hooks.Process]*owner{},
		waiters:   map[*waiter]struct{}{},
		followers: map[chan struct{}]struct{}{},
	}
	if k.Step == nil {
		k.Step = func(string) {}
	} else {
		k.Options = k.stepped()
	}
	for _, c := range o.Config.WANs {
		w := &wan{WAN: c}
		w.uplink = newUplink(c, o.Network, o.RunDir.Lease(c.Name), k.Publishers, o.Log,
			func(r reached) { k.do(func() { w.state = r }) })
		k.wans = append(k.wans, w)
	}
	return k
}

// do lets the loop run f. It returns at once.
func (k *Keeper) do(f func()) { k.mail.put(f) }

// Run drives the router until ctx ends. It then leaves everything as it is: the
// kernel holds the address for as long as the lease lasts, and the next keeper
// adopts it. It returns ErrRunning if another keeper holds the run directory.
func (k *Keeper) Run(ctx context.Context) error {
	unlock, err := lockKeeper(ctx, k.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	if k.store, err = hooks.OpenStore(k.RunDir); err != nil {
		return err
	}
	k.memory.start()
	defer k.memory.end()
	ctx, stop := context.WithCancelCause(ctx)
	k.life = ctx
	var tasks sync.WaitGroup
	defer func() {
		stop(nil)
		k.drain(&tasks)
	}()

	watch, err := hooks.WatchDir(k.RunDir.String(), rundir.IntentFile, rundir.SocketFile)
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
	k.memo = newRecorder(k.store, k.log)
	k.adopt(ctx)
	k.daemons = newDaemons(k.Services, installed(ctx, k.Options), k.Config.ServicesNamed, k.log,
		func(s served) { k.do(func() { k.served = s }) })
	k.served.services = k.daemons.unseen()
	k.commits = newCommits(k.Replica, k.log,
		func(epoch int, p hooks.Phase) { k.do(func() { k.committed(epoch, p) }) })
	k.fallback = newFallback(k.Network, k.Config.BackupGateway, k.log)

	tasks.Go(func() { k.daemons.run(ctx) })
	k.ports = newPorts(k.Network, k.Config.WANs, k.log)
	tasks.Go(func() { k.fallback.run(ctx) })
	tasks.Go(func() { k.ports.run(ctx) })
	tasks.Go(func() { k.commits.run(ctx) })
	tasks.Go(func() { k.watchReplica(ctx) })
	tasks.Go(func() { k.watchFitness(ctx) })
	for _, w := range k.wans {
		tasks.Go(func() { w.uplink.run(ctx) })
	}
	tasks.Go(func() { k.route(ctx, events) })
	tasks.Go(func() { k.memo.run(ctx) })
	tasks.Go(func() { k.reread(ctx, watch, stop) })
	tasks.Go(func() { newServer(k.log, k.handle).serve(ctx, socket) })
	k.loop(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, ErrUnreachable) {
		return cause
	}
	return nil
}

// Refresh looks whether everything is as the role wants it and tells the
// platform's publishers again what they may have forgotten: netifd after a
// restart, for one. It returns at once.
func (k *Keeper) Refresh() {
	k.do(func() {
		for _, w := range k.wans {
			w.uplink.refresh()
		}
		k.fallback.look()
		k.daemons.poke()
	})
}

// drain lets the tasks end while nobody runs the loop's work any more.
func (k *Keeper) drain(tasks *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		tasks.Wait()
		close(done)
	}()
	for {
		select {
		case <-k.mail.wake:
			k.mail.run()
		case <-done:
			return
		}
	}
}

// loop decides. It never waits for anything but its next piece of work.
func (k *Keeper) loop(ctx context.Context) {
	k.reload()
	k.decide(ctx)
	k.Ready()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.mail.wake:
			k.mail.run()
		}
		k.decide(ctx)
	}
}

// reread reloads the record of intents when it is replaced: a hook that is
// killed right after its record was written has spoken all the same. Without its
// socket, or the whole run directory, a keeper is out of reach: it ends, the next
// one makes another. (Of the directory alone inotify would not tell: the socket
// keeps it in the kernel.)
func (k *Keeper) reread(ctx context.Context, watch *hooks.DirWatch, stop func(error)) {
	for {
		err := watch.Wait(ctx)
		switch {
		case err == nil:
			if there, err := k.RunDir.Listening(); err == nil && !there {
				stop(fmt.Errorf("%w: %s", ErrUnreachable, k.RunDir.Path(rundir.SocketFile)))
				return
			}
			k.do(func() { k.reload() })
		case errors.Is(err, hooks.ErrDirGone):
			stop(fmt.Errorf("%w: %w", ErrUnreachable, err))
			return
		default:
			if ctx.Err() == nil {
				k.log.Error("cannot watch the recorded intents: hooks that die early go unheard", "error", err)
			}
			return
		}
	}
}

// route hands kernel events to the WANs that they concern.
func (k *Keeper) route(ctx context.Context, events <-chan netif.Event) {
	for ev := range events {
		k.fallback.look()
		if ev.Kind == netif.Resync || ev.Kind == netif.LinkChanged || ev.Kind == netif.LinkGone {
			k.ports.look()
		}
		for _, w := range k.wans {
			if ev.Kind == netif.Resync || ev.Name == w.Name || ev.Name == w.Parent || ev.MAC == w.MAC.String() {
				w.uplink.notice(ev)
			}
		}
	}
	if ctx.Err() == nil {
		k.log.Error("the kernel's events have ended: nothing will be healed until the keeper is restarted")
	}
}

// adopt looks at what an earlier keeper left, and removes what belongs to no WAN
// of this configuration any more.
func (k *Keeper) adopt(ctx context.Context) {
	for _, w := range k.wans {
		// A client that was killed may have left its lease file's successor half
		// written; as backup no other would come to replace it.
		k.RunDir.Lease(w.Name).Tidy()
		o, err := k.Network.Observe(ctx, link(w.WAN))
		w.state.wan, _ = unattended(w.WAN, o, k.RunDir) // until the uplink reports
		if err != nil {
			k.log.Warn("cannot look at the link that may be left of an earlier keeper", "wan", w.Name, "error", err)
			continue
		}
		w.adopted = w.uplink.adopt(o)
		w.held = o.Owned && len(o.Addresses) > 0
	}
	removed, err := k.Network.PurgeOrphans(ctx, links(k.Config.WANs))
	if err != nil {
		k.log.Warn("cannot remove what belongs to no WAN any more", "error", err)
	}
	if len(removed) > 0 {
		k.log.Debug("removed links that belong to no WAN any more", "links", removed)
	}
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

// answers reports whether a keeper lives in dir. That its socket takes a call is
// no proof: one that was just killed has it open for a moment longer.
func answers(ctx context.Context, dir rundir.Dir) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := hooks.Dial(ctx, dir)
	if err != nil {
		return false
	}
	defer c.Close()
	var r hooks.Report
	return c.Ask(ctx, hooks.Request{Op: hooks.OpStatus}, &r) == nil
}

// lockKeeper takes the lock that makes a keeper, or a hook that acts in its
// place, the only one of its run directory.
func lockKeeper(ctx context.Context, dir rundir.Dir) (unlock func(), err error) {
	if _, err := hooks.OpenStore(dir); err != nil { // makes the directory
		return nil, err
	}
	if answers(ctx, dir) {
		return nil, ErrRunning
	}
	unlock, err = hooks.LockWithin(ctx, dir.KeeperLock(), lockWait)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrRunning
	}
	return unlock, err
}
