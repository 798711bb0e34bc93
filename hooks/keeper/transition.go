package keeper

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks"
)

// remembered is how many transitions a status shows.
const remembered = 10

// transition is the change of role that is under way.
type transition struct {
	hooks.Transition
	epoch int
	extra []hooks.Phase // of the replication
}

// conclude ends the transition once everything has reached its role, and logs it.
func (k *Keeper) conclude() {
	if k.now == nil || !k.serves() {
		return
	}
	for _, w := range k.wans {
		if !w.settled() {
			return
		}
	}
	t := k.now.Transition
	t.Phases, t.Problems = k.phases(k.now), k.problems("")
	for _, p := range t.Phases {
		t.Took = max(t.Took, p.At)
	}
	k.remember("is "+t.Role.String(), t)
}

// abandon ends a transition that a newer one overtakes.
func (k *Keeper) abandon() {
	if k.now == nil {
		return
	}
	t := k.now.Transition
	t.Took, t.Phases = time.Since(t.At), k.phases(k.now)
	t.Problems = append(k.problems(""), "superseded before it was complete")
	k.remember("superseded on the way to "+t.Role.String(), t)
}

// remember ends the transition, with the one line of the log that it gets.
func (k *Keeper) remember(end string, t hooks.Transition) {
	k.log.Info(end, "by", t.By, "took", t.Took.Round(10*time.Microsecond),
		"phases", phaseList(t.Phases), "problems", strings.Join(t.Problems, "; "))
	k.past = append(k.past, t)
	if len(k.past) > remembered {
		k.past = slices.Delete(k.past, 0, len(k.past)-remembered)
	}
	k.now = nil
	k.memory.rest()
}

// phases are the parts of t so far, in the order in which they ended.
func (k *Keeper) phases(t *transition) []hooks.Phase {
	all := slices.Clone(t.extra)
	for _, w := range k.wans {
		if w.state.epoch != t.epoch {
			continue
		}
		for _, p := range w.state.phases {
			p.Name = phaseOf(len(k.wans), w.Name, p.Name)
			all = append(all, p)
		}
	}
	if k.served.epoch == t.epoch {
		all = append(all, k.served.phases...)
	}
	slices.SortStableFunc(all, func(a, b hooks.Phase) int { return cmp.Compare(a.At, b.At) })
	return all
}

// phaseOf is the name of one WAN's phase on a router of so many.
func phaseOf(wans int, wan, phase string) string {
	if wans > 1 {
		return wan + " " + phase
	}
	return phase
}

// problems names everything that is not as it should be with the WANs that a
// scope covers, and with the services.
func (k *Keeper) problems(scope string) (all []string) {
	for _, w := range k.covered(scope) {
		if w.state.epoch == w.ordered.epoch {
			all = append(all, w.state.problems...)
		} else {
			all = append(all, w.Name+": not begun yet")
		}
	}
	if k.serves() {
		return append(all, k.served.problems...)
	}
	return append(all, "services: not done yet")
}

// covered are the WANs that an intent of the given scope drives.
func (k *Keeper) covered(scope string) (wans []*wan) {
	for _, w := range k.wans {
		if (hooks.Intent{Scope: scope}).Covers(w.Instance) {
			wans = append(wans, w)
		}
	}
	return wans
}

// phaseList prints phases on one line of a log.
type phaseList []hooks.Phase

// LogValue implements slog.LogValuer.
func (l phaseList) LogValue() slog.Value {
	var parts []string
	for _, p := range l {
		s := fmt.Sprintf("%s %v", p.Name, p.At.Round(10*time.Microsecond))
		if p.Error != "" {
			s += " (failed)"
		}
		parts = append(parts, s)
	}
	return slog.StringValue(strings.Join(parts, ", "))
}
