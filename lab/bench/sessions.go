package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// Contender is a way to keep sessions over a failover.
type Contender struct {
	Name       string
	scheme     lab.Scheme
	conntrackd bool
	gateway    bool // the backup has a default route of its own
}

// withoutGateway is wanfail without `option backup_gateway`, which the guides
// recommend.
const withoutGateway = "wanfail + conntrackd, no backup_gateway"

var contenders = []Contender{
	{"wanfail + conntrackd", lab.Wanfail, true, true},
	{withoutGateway, lab.Wanfail, true, false},
	{"script + conntrackd", lab.Script, true, false},
	{"script", lab.Script, false, false},
}

// SessionResult is the outcome of the sessions.
type SessionResult struct {
	Contender Contender
	Scenario  lab.Scenario
	Advert    time.Duration
	Sessions  int // of each round
	Rounds    int
	// Survived in each round.
	Survived []int
	// LostPush and LostEcho are over all rounds.
	LostPush, LostEcho int
	// Least, Median and Most of the surviving sessions' longest gaps, by round.
	Least, Median, Most Series
	// Outage of the UDP echo, and what of it VRRP took to detect.
	Outage, Detection Series
	// Added is Outage without Detection.
	Added Series
	// Overlap counts rounds in which both routers transmitted with the shared MAC.
	Overlap int
	// Broken counts rounds in which the WAN did not come back at all.
	Broken int
	// Void counts rounds that failed before there was anything to measure, and
	// were repeated.
	Void int
}

func measureSessions(ctx context.Context, o Options) (results []*SessionResult, err error) {
	// Adverts each 50 ms make a difference to crashes only.
	rounds := map[string]int{"wanfail 50ms crash": 10, "wanfail 100ms": 20, "wanfail 1s": 2, "50ms crash": 1, "100ms": 2, "1s": 1}
	sessions := 200
	if o.Quick {
		rounds = map[string]int{"wanfail 50ms crash": 1, "wanfail 100ms": 1, "100ms": 1}
		sessions = 40
	}
	for _, advert := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		for _, sc := range []lab.Scenario{lab.Crash, lab.Stop, lab.Failback} {
			for _, c := range contenders {
				key := advert.String()
				switch {
				case c.Name == withoutGateway: // as often as the scripts
				case c.scheme == lab.Wanfail:
					key = "wanfail " + key
				}
				if n := rounds[key] + rounds[key+" "+string(sc)]; n > 0 {
					results = append(results, &SessionResult{Contender: c, Scenario: sc, Advert: advert, Sessions: sessions, Rounds: n})
				}
			}
		}
	}
	const most = 2 // rounds of a kind that may fail
	for round := 0; ; round++ {
		more := false
		for _, r := range results {
			if round >= r.Rounds {
				continue
			}
			more = true
			if err := r.round(ctx); err != nil {
				// Nothing is known of what was to be measured: the lab did not get
				// that far. Once more, and the table says how often.
				err = fmt.Errorf("%s, %s, adverts each %v: %w", r.Contender.Name, r.Scenario, r.Advert, err)
				o.tell("%v", err)
				if r.Void++; r.Void > most || ctx.Err() != nil {
					return nil, err
				}
				if err := r.round(ctx); err != nil {
					return nil, err
				}
			}
		}
		if !more {
			return results, nil
		}
		o.tell("sessions: round %d", round+1)
	}
}

// roundLimit is far above the longest round.
const roundLimit = 45 * time.Second

func (r *SessionResult) round(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundLimit, fmt.Errorf("not within %v", roundLimit))
	defer cancel()
	l, err := lab.New(ctx, lab.Options{Scheme: r.Contender.scheme, Conntrackd: r.Contender.conntrackd, BackupGateway: r.Contender.gateway, Advert: r.Advert})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	tl, err := l.Timeline()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tl.Close()) }()
	// A session that sleeps when the path comes back may do so for as long again
	// as it was broken, and more on a busy computer (docs/sessions.md).
	settle := 3*time.Second + 12*r.Advert
	rep, err := l.Run(ctx, r.Scenario, tl, lab.RunOptions{Sessions: r.Sessions, Settle: settle})
	if err != nil {
		return err
	}
	r.take(rep)
	return nil
}

func (r *SessionResult) take(rep *lab.Report) {
	r.Survived = append(r.Survived, rep.Load.Survived)
	push, echo := rep.Load.Lost()
	r.LostPush, r.LostEcho = r.LostPush+push, r.LostEcho+echo
	if rep.Load.Survived > 0 {
		r.Least.add(rep.Load.Min)
		r.Median.add(rep.Load.Median)
		r.Most.add(rep.Load.Max)
	}
	if rep.Overlap > 0 {
		r.Overlap++
	}
	// A few probes that are still on their way are not the end of the path.
	if rep.Outage.Open && rep.Outage.Duration() > time.Second {
		r.Broken++
		return
	}
	r.Outage.add(rep.Outage.Duration())
	r.Detection.add(rep.Detection)
	r.Added.add(rep.Outage.Duration() - rep.Detection)
}
