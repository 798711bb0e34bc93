package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Scenario is a way in which the WAN changes hands.
type Scenario string

// Scenarios.
const (
	Crash    Scenario = "crash"    // the master loses its power
	Stop     Scenario = "stop"     // somebody stops keepalived on the master
	Failback Scenario = "failback" // the crashed router returns and preempts
)

// ParseScenario checks a name.
func ParseScenario(s string) (Scenario, error) {
	switch sc := Scenario(s); sc {
	case Crash, Stop, Failback:
		return sc, nil
	}
	return "", fmt.Errorf("unknown scenario %q (crash, stop or failback)", s)
}

// RunOptions of Run.
type RunOptions struct {
	Sessions int             // TCP sessions over the failover; default 2
	Arrive   time.Duration   // if not zero, one more begins so often, before the failover and while it lasts
	Beat     func(time.Time) // as in LoadOptions
	Tell     func(string)    // what is being prepared; may be nil
	// Settle is how long sessions get to recover; default 15 s.
	Settle time.Duration
	// Linger is how long the lab goes on before and after the failover, for
	// somebody who watches.
	Linger time.Duration
	// Finish is called at the end, before the sessions are closed; may be nil.
	Finish func()
}

// Report is what a failover was like.
type Report struct {
	Scenario Scenario
	From, To string
	Trigger  time.Time
	// Detection is from the trigger to the start of the new master's hook:
	// VRRP's part. Usable is from there to its default route: the part of
	// wanfail, or of the script.
	Detection, Usable time.Duration
	// Silence is from the trigger to the last frame that the old master sent
	// with the shared MAC address, negative if there was none after it.
	Silence time.Duration
	// Overlap is how long the old master went on after the new one's first frame;
	// negative if it was silent by then.
	Overlap time.Duration
	// Before and After are the WAN's address.
	Before, After netip.Prefix
	// Releases counts each DHCPRELEASE since the lab was built.
	Releases int
	Outage   Outage
	Load     LoadReport
	Arrived  LoadReport // of those that RunOptions.Arrive asks for
}

// LastSent is when the old master sent its last frame.
func (r *Report) LastSent() time.Time { return r.Trigger.Add(max(0, r.Silence)) }

// Run starts keepalived on both routers of a new lab and takes it through a
// scenario. tl must have been collecting since before.
func (l *Lab) Run(ctx context.Context, sc Scenario, tl *Timeline, o RunOptions) (_ *Report, err error) {
	if o.Sessions == 0 {
		o.Sessions = 2
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	if o.Settle == 0 {
		o.Settle = 15 * time.Second
	}
	from, to := l.routers[0], l.routers[1]
	o.Tell("keepalived starts on both routers")
	if err := l.Elect(ctx); err != nil {
		return nil, err
	}
	if sc == Failback {
		o.Tell(from.Name + " loses its power, " + to.Name + " takes over")
		if err := from.Crash(); err != nil {
			return nil, err
		}
		from, to = to, from
		if err := from.WaitWAN(ctx); err != nil {
			return nil, err
		}
	}
	r := &Report{Scenario: sc, From: from.Name, To: to.Name}
	if r.Before, _, err = from.HasWAN(); err != nil {
		return nil, err
	}
	o.Tell(fmt.Sprintf("%d TCP sessions from the LAN to the internet", o.Sessions))
	prober, err := l.StartProber(ctx)
	if err != nil {
		return nil, err
	}
	defer prober.Stop()
	load, err := l.StartLoad(ctx, LoadOptions{Sessions: o.Sessions, Beat: o.Beat})
	if err != nil {
		return nil, err
	}
	defer load.Stop()
	if sc == Failback {
		o.Tell(to.Name + " boots")
		if err := to.Boot(ctx); err != nil {
			return nil, err
		}
	}
	if err := l.linger(ctx, o.Linger); err != nil {
		return nil, err
	}
	var arrivals *Arrivals
	if o.Arrive > 0 {
		if arrivals, err = l.StartArrivals(ctx, o.Arrive, youngInterval); err != nil {
			return nil, err
		}
		defer arrivals.Stop()
		if err := l.linger(ctx, youngFor); err != nil {
			return nil, err
		}
	}
	sent, err := l.recordSent(from, to)
	if err != nil {
		return nil, err
	}
	load.Mark()
	if err := l.trigger(ctx, sc, tl, r, from, to); err != nil {
		return nil, err
	}
	if err := to.WaitWAN(ctx); err != nil {
		return nil, err
	}
	if r.After, _, err = to.HasWAN(); err != nil {
		return nil, err
	}
	hook, err := tl.Wait(ctx, r.Trigger, func(e Event) bool {
		return Is(to.Name, KindHook, "primary")(e) || l.opt.Scheme == NoScheme && Is(to.Name, KindVIP, "up")(e)
	})
	if err != nil {
		return nil, fmt.Errorf("hook of %s: %w", to.Name, err)
	}
	route, err := tl.Wait(ctx, r.Trigger, Is(to.Name, KindRoute, Gateway.String()))
	if err != nil {
		return nil, fmt.Errorf("default route of %s: %w", to.Name, err)
	}
	r.Detection, r.Usable = hook.At.Sub(r.Trigger), route.At.Sub(hook.At)
	settle, cancel := context.WithTimeout(ctx, o.Settle)
	defer cancel()
	// Sessions that do not come back, and a path that does not, are what the
	// report is about: no errors.
	_ = prober.Settle(settle)
	r.Load = load.Settle(settle, route.At)
	if arrivals != nil {
		r.Arrived = arrivals.Settle(settle, route.At)
	}
	if err := l.linger(ctx, o.Linger); err != nil {
		return nil, err
	}
	if o.Finish != nil {
		o.Finish()
	}
	r.Outage = prober.Outage(r.Trigger)
	r.compareSent(sent)
	for _, e := range tl.Events(time.Time{}) {
		if e.Kind == KindDHCP && e.Subject == "RELEASE" {
			r.Releases++
		}
	}
	return r, errors.Join(sent[0].Close(), sent[1].Close())
}

// Sessions that arrive do so from youngFor before the failover on. That they talk
// less than others keeps the computer from being busy with them.
const (
	youngFor      = 1500 * time.Millisecond
	youngInterval = 100 * time.Millisecond
)

// Elect starts keepalived on both routers and waits until the first has the
// WAN.
func (l *Lab) Elect(ctx context.Context) error {
	for _, r := range l.routers {
		if err := r.StartKeepalived(ctx); err != nil {
			return err
		}
	}
	if err := l.routers[0].WaitWAN(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("not within 10 s"))
	defer cancel()
	return l.routers[0].WaitServices(ctx, true)
}

// WaitServices waits until all services that follow the role run, or none.
func (r *Router) WaitServices(ctx context.Context, up bool) error {
	for {
		settled := true
		for _, s := range r.l.opt.Services {
			running, err := r.Running(ctx, s)
			if err != nil {
				return err
			}
			settled = settled && running == up
		}
		if settled {
			return nil
		}
		// Each look costs a process of the router: not as often as Eventually.
		if err := r.l.linger(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("services of %s (want running: %v): %w", r.Name, up, err)
		}
	}
}

// WaitWAN waits until the router has a usable WAN.
func (r *Router) WaitWAN(ctx context.Context) error {
	return Eventually(ctx, "WAN of "+r.Name, func() (bool, error) {
		_, ok, err := r.HasWAN()
		return ok, err
	})
}

// linger gives watchers time.
func (l *Lab) linger(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Lab) recordSent(from, to *Router) (v [2]*Sent, err error) {
	if v[0], err = from.RecordSent(); err != nil {
		return v, err
	}
	v[1], err = to.RecordSent()
	return v, err
}

// trigger does what the scenario is about.
func (l *Lab) trigger(ctx context.Context, sc Scenario, tl *Timeline, r *Report, from, to *Router) error {
	switch sc {
	case Crash:
		r.Trigger = tl.Act(from.Name, ActPowerCut)
		return from.Crash()
	case Stop:
		r.Trigger = tl.Act(from.Name, "keepalived is stopped")
		return from.StopKeepalived(ctx)
	default:
		r.Trigger = tl.Act(to.Name, "keepalived starts again")
		return to.StartKeepalived(ctx)
	}
}

// compareSent compares when each router sent with the shared MAC address.
func (r *Report) compareSent(sent [2]*Sent) {
	_, _, last := sent[0].Frames()
	n, first, _ := sent[1].Frames()
	r.Silence = -1
	if last.At.After(r.Trigger) {
		r.Silence = last.At.Sub(r.Trigger)
	}
	r.Overlap = -1
	if n > 0 && last.At.After(first.At) {
		r.Overlap = last.At.Sub(first.At)
	}
}
