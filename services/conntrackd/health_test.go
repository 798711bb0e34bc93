package conntrackd

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	down := errors.New("conntrackd is not running")
	type look struct {
		at   time.Duration
		pid  int
		err  error
		want string // what is wrong
	}
	for name, looks := range map[string][]look{
		"healthy":             {{0, 7, nil, ""}, {30 * time.Second, 7, nil, ""}},
		"not up yet at boot":  {{0, 0, down, "not running"}, {2 * time.Second, 7, nil, ""}},
		"stopped":             {{0, 7, nil, ""}, {time.Second, 0, down, "not running"}, {time.Hour, 0, down, "not running"}},
		"restarted":           {{0, 7, nil, ""}, {time.Second, 0, down, "not running"}, {2 * time.Second, 8, nil, "may not have"}, {12 * time.Second, 8, nil, ""}},
		"restarted unseen":    {{0, 7, nil, ""}, {time.Second, 8, nil, "may not have"}, {11 * time.Second, 8, nil, ""}},
		"another namespace":   {{0, 0, nil, ""}, {time.Second, 0, nil, ""}},
		"down is one end":     {{0, 7, nil, ""}, {1 * time.Second, 0, down, "not running"}, {2 * time.Second, 0, down, "not running"}, {3 * time.Second, 0, down, "not running"}, {30 * time.Second, 8, nil, ""}},
		"crashes with pauses": {{0, 7, nil, ""}, {1 * time.Minute, 8, nil, "may not have"}, {2 * time.Minute, 9, nil, "may not have"}, {3 * time.Minute, 10, nil, "hung 3 times"}, {4 * time.Minute, 10, nil, "hung 3 times"}, {7 * time.Minute, 10, nil, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			start := time.Now()
			for _, l := range looks {
				problem := h.look(start.Add(l.at), l.pid, l.err)
				if (problem == nil) != (l.want == "") || problem != nil && !strings.Contains(problem.Error(), l.want) {
					t.Errorf("at %v: %v, want %q", l.at, problem, l.want)
				}
			}
		})
	}
}
