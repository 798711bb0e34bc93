package keeper

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/hooks/keeper/wan"
	"github.com/wanfail/wanfail/services"
)

// daemons keeps the services of a router in its role. Platforms start services
// of their own accord (at boot, after a configuration change, after an interface
// event), so what was reached once is checked again: often right after a change,
// now and then later, and at once where the service manager tells.
type daemons struct {
	manager services.Manager
	names   []string
	chosen  bool // the configuration names them; else a service that its own switches off is none
	log     *slog.Logger
	report  func(router.Served) // must not block

	wake signal
	// Of run:
	phases  []control.Phase   // of the current order
	failing map[string]string // by service, what was warned of last

	mu    sync.Mutex
	want  router.Serve
	given time.Duration      // when want was ordered, in boot time
	alert time.Time          // since when the services are checked more often
	abort context.CancelFunc // ends the pass that runs
}

const (
	serviceLimit  = 30 * time.Second // for one service to start or stop
	defaultsLimit = 5 * time.Second  // for those that the configuration does not name
	checkOftenFor = 10 * time.Second // after a change; procd's triggers come within 2 s
	checkOften    = time.Second
	checkSeldom   = 30 * time.Second
)

func newDaemons(m services.Manager, names []string, chosen bool, log *slog.Logger, report func(router.Served)) *daemons {
	return &daemons{
		manager: m, names: names, chosen: chosen, log: log, report: report,
		wake: newSignal(), abort: func() {}, failing: map[string]string{},
	}
}

// unseen are the services before their state was read.
func (d *daemons) unseen() (all []control.Service) {
	for _, name := range d.names {
		all = append(all, control.Service{Name: name, Backend: d.manager.Backend()})
	}
	return all
}

// order gives a new order, which ends the work on the one before.
func (d *daemons) order(t router.Serve) {
	d.mu.Lock()
	d.want, d.given, d.alert = t, dhcp.BootTime(), time.Now()
	d.abort()
	d.mu.Unlock()
	d.wake.raise()
}

// checkNow asks for a check now, and for more frequent ones for a while.
func (d *daemons) checkNow() {
	d.checkOften()
	d.wake.raise()
}

// run converges until ctx ends and leaves the services as they are then.
func (d *daemons) run(ctx context.Context) {
	changes := d.watch(ctx)
	check, hold := newTimer(), newTimer()
	var (
		last   router.Serve
		wait   wan.Backoff
		missed bool // a check was requested too soon after the last repair
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		case <-check.C:
		case <-hold.C:
			hold.stop()
			if !missed {
				continue
			}
		}
		pass, t, given := d.begin(ctx)
		if t.Epoch == 0 {
			continue
		}
		if hold.running && t == last {
			missed = true
			continue
		}
		missed = false
		start := dhcp.BootTime()
		late := d.expect(t, given, start, t != last)
		results := services.ConvergeEach(pass, d.manager, d.names, t.Up, serviceLimit, late.add)
		late.stop()
		if pass.Err() != nil {
			continue // order has woken this loop for the newer order
		}
		if t != last {
			wait = wan.Backoff{}
		}
		// A service that does not stay as wanted is repaired with pauses between.
		if d.tell(t, given, start, results, t != last) {
			hold.set(wait.Next(dhcp.BootTime()))
		} else {
			hold.stop()
		}
		last = t
		check.set(d.interval())
	}
}

// watch subscribes to changes of the services where the manager offers that.
func (d *daemons) watch(ctx context.Context) <-chan string {
	w, ok := d.manager.(interface {
		Watch(ctx context.Context, names []string) (<-chan string, error)
	})
	if !ok || len(d.names) == 0 {
		return nil
	}
	changes, err := w.Watch(ctx, d.names)
	if err != nil {
		d.log.Debug("cannot watch the services, checking now and then instead", "error", err)
		return nil
	}
	return changes
}

// begin returns the order to work on and a context that ends with it.
func (d *daemons) begin(ctx context.Context) (context.Context, router.Serve, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.abort() // of the pass before: frees its context
	ctx, d.abort = context.WithCancel(ctx)
	return ctx, d.want, d.given
}

// interval is how long to wait until the next check.
func (d *daemons) interval() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.alert) < checkOftenFor {
		return checkOften
	}
	return checkSeldom
}

// tell reports a pass; first: of this order. It returns whether a service was not
// as wanted although it once was, or still is not.
func (d *daemons) tell(t router.Serve, given, start time.Duration, results []services.Result, first bool) (fight bool) {
	verb := control.PhaseStop
	if t.Up {
		verb = control.PhaseStart
	}
	if first {
		d.phases = nil
	}
	s := router.Served{Epoch: t.Epoch, Settled: true, Since: given}
	for _, r := range results {
		if errors.Is(r.Err, services.ErrOff) && !d.chosen {
			d.failing[r.Name] = ""
			continue
		}
		line := control.Service{Name: r.Name, Backend: d.manager.Backend(), Running: r.State == services.Running}
		fight = fight || r.Err != nil || r.Changed && !first
		if r.Err != nil {
			line.Error = r.Err.Error()
			s.Problems = append(s.Problems, verb+" "+r.Name+": "+line.Error)
		}
		if first && (r.Changed || r.Err != nil) {
			d.phases = append(d.phases, control.Phase{
				Name: verb + " " + r.Name, Took: r.Took, At: start - given + r.Took, Error: line.Error,
			})
		}
		if line.Error != "" && line.Error != d.failing[r.Name] {
			d.log.Warn("cannot "+verb+" a service", "service", r.Name, "error", line.Error)
		}
		d.failing[r.Name] = line.Error
		if r.Changed && !first {
			d.log.Warn("service was not as its role wants: is it enabled at boot, or does something else start or stop it?", "service", r.Name, "did", verb)
			d.checkOften()
		}
		s.Services = append(s.Services, line)
	}
	s.Phases = slices.Clone(d.phases)
	d.report(s)
	return fight
}

// checkOften has the services checked more often for a while.
func (d *daemons) checkOften() {
	d.mu.Lock()
	d.alert = time.Now()
	d.mu.Unlock()
}
