package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// What TestSessions does more of when asked: WANFAIL_SESSIONS=200
// WANFAIL_ROUNDS=20 is what docs/sessions.md promises.
const (
	envSessions = "WANFAIL_SESSIONS"
	envRounds   = "WANFAIL_ROUNDS"
)

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	s := os.Getenv(env)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number", env, s)
	}
	return n
}

// TestSessions: of many sessions, half of them pushed by the server, not one is
// lost, behind a firewall that drops what it does not know.
func TestSessions(t *testing.T) {
	sessions, rounds := number(t, envSessions, 40), number(t, envRounds, 1)
	for _, sc := range []lab.Scenario{lab.Crash, lab.Stop, lab.Failback} {
		t.Run(string(sc), func(t *testing.T) {
			var outages, gaps []time.Duration
			for i := range rounds {
				t.Run(fmt.Sprint("round ", i+1), func(t *testing.T) {
					w := build(t, 60*time.Second, lab.Options{Conntrackd: true})
					rep, err := w.l.Run(w.ctx, sc, w.tl, lab.RunOptions{Sessions: sessions, Settle: 15 * time.Second})
					w.must(err)
					w.logReport(rep)
					outages, gaps = append(outages, rep.Outage.Duration()), append(gaps, rep.Load.Max)
					for i, s := range rep.Load.Sessions {
						if s.Err != nil {
							t.Errorf("session %d (pushed: %v) is lost: %v", i, s.Push, s.Err)
						}
					}
				})
			}
			if rounds > 1 && len(outages) > 0 {
				slices.Sort(outages)
				slices.Sort(gaps)
				t.Logf("%d rounds of %d sessions: outage %v to %v (median %v), longest gap of a session %v to %v (median %v)",
					len(outages), sessions,
					ms(outages[0]), ms(outages[len(outages)-1]), ms(outages[len(outages)/2]),
					ms(gaps[0]), ms(gaps[len(gaps)-1]), ms(gaps[len(gaps)/2]))
			}
		})
	}
}

// TestYoungSessions: sessions begin all the time, and what is lost is at most what
// began in the last moment before a crash. conntrackd tells the peer of a new
// state within 2 ms (docs/sessions.md); replicated is five times that. When the
// role changes by agreement of the routers, it goes on to tell, and none is lost.
func TestYoungSessions(t *testing.T) {
	const replicated = 10 * time.Millisecond
	ages := []time.Duration{time.Second, 500 * time.Millisecond, 100 * time.Millisecond, 50 * time.Millisecond, replicated, 0}
	for _, sc := range []lab.Scenario{lab.Crash, lab.Stop, lab.Failback} {
		t.Run(string(sc), func(t *testing.T) {
			w := build(t, 60*time.Second, lab.Options{Conntrackd: true})
			rep, err := w.l.Run(w.ctx, sc, w.tl, lab.RunOptions{Arrive: 5 * time.Millisecond, Settle: 10 * time.Second})
			w.must(err)
			w.logReport(rep)
			last, back := rep.LastHeard(), rep.Outage.To
			all, lost := map[string]int{}, map[string]int{}
			for _, s := range rep.Arrived.Sessions {
				age := last.Sub(s.Opened)
				var group string
				switch {
				case s.Began.After(back):
					group = "after the outage"
				case s.Began.After(last):
					group = "in the outage"
				case s.Opened.IsZero() || s.Opened.After(last):
					group = "in their handshake"
				default:
					i := slices.IndexFunc(ages, func(a time.Duration) bool { return age >= a })
					group = fmt.Sprint("open for ", ages[i], " and more")
				}
				all[group]++
				if s.Err == nil {
					continue
				}
				lost[group]++
				switch {
				case errors.Is(s.Err, unix.ENETUNREACH) && group == "in the outage":
					// The new master had the virtual address, and no route yet.
				case sc == lab.Crash && !s.Began.After(last) && (s.Opened.IsZero() || age < replicated):
				default:
					t.Errorf("session that was %s, pushed: %v, is lost: %v", group, s.Push, s.Err)
				}
			}
			for _, group := range slices.Sorted(maps.Keys(all)) {
				t.Logf("%s: %d, %d of them lost", group, all[group], lost[group])
			}
			if n := all["open for 10ms and more"] + all["open for 50ms and more"]; n < 3 {
				t.Errorf("only %d sessions were young", n)
			}
		})
	}
}
