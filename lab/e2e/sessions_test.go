package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

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
