package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// goal is something to reach, with what was.
type goal struct {
	text, got string
	met       bool
	missedBy  string
	why       string // it may be missed
}

func (g goal) because(why string) goal {
	g.why = why
	return g
}

// below is a goal for a time.
func below(text string, got, limit time.Duration) goal {
	g := goal{text: text, got: millis(got), met: got <= limit}
	if !g.met {
		g.missedBy = millis(got - limit)
	}
	return g
}

// times is a goal for a ratio.
func times(text string, slow, fast time.Duration, factor float64) goal {
	if fast == 0 || slow == 0 {
		return goal{text: text, got: "-"}
	}
	got := float64(slow) / float64(fast)
	g := goal{text: text, got: fmt.Sprintf("%.1f times", got), met: got >= factor}
	if !g.met {
		g.missedBy = fmt.Sprintf("%.1f", factor-got)
	}
	return g
}

// fewer is a goal for a ratio that is to be small.
func fewer(text string, slow, fast *Series, factor float64) goal {
	got := float64(slow.Median()) / float64(fast.Median())
	g := goal{text: text, got: fmt.Sprintf("%.1f times", got), met: got < factor}
	if !g.met {
		g.missedBy = fmt.Sprintf("%.1f", got-factor)
	}
	return g
}

func (r *Results) writeGoals(b *strings.Builder) {
	goals := slices.Concat(r.hookGoals(), r.sessionGoals(), r.scaleGoals(), r.costGoals())
	if len(goals) == 0 {
		return
	}
	b.WriteString("## Goals\n\n")
	var rows [][]string
	for _, g := range goals {
		verdict := "met"
		if !g.met {
			verdict = "**missed**"
			if g.missedBy != "" {
				verdict += " by " + g.missedBy
			}
			if g.why != "" {
				verdict += ": " + g.why
			}
		}
		rows = append(rows, []string{g.text, g.got, verdict})
	}
	table(b, []string{"goal", "measured", ""}, rows)
}

func (r *Results) hook(c Contestant) *HookResult {
	for i := range r.Hooks {
		if r.Hooks[i].Contestant.Name == c.Name {
			return &r.Hooks[i]
		}
	}
	return nil
}

func (r *Results) hookGoals() (goals []goal) {
	cold, kept, udhcpc, dhclient := r.hook(Cold), r.hook(Remembered), r.hook(Udhcpc), r.hook(Dhclient)
	if cold == nil || kept == nil || udhcpc == nil || dhclient == nil {
		return nil
	}
	goals = append(goals,
		times("cold, 10 times faster than script + udhcpc", udhcpc.Alive[0].Median(), cold.Alive[0].Median(), 10),
		times("cold, 4 times faster than dhclient", dhclient.Alive[0].Median(), cold.Alive[0].Median(), 4))
	for i, rtt := range roundTrips {
		goals = append(goals, below(fmt.Sprintf("remembered lease, server %d ms away: under 10 ms", rtt.Milliseconds()), kept.Alive[i].Median(), 10*time.Millisecond))
	}
	g := below("remembered lease, server dead: under 10 ms", kept.Dead.Median(), 10*time.Millisecond)
	if len(kept.Dead.Values) == 0 {
		g.met, g.got = false, "never"
	}
	return append(goals, g)
}

func (r *Results) sessionGoals() (goals []goal) {
	for _, s := range r.Sessions {
		if s.Contender.scheme != lab.Wanfail {
			continue
		}
		lost := s.LostPush + s.LostEcho
		where := fmt.Sprintf("%s, adverts each %v", s.Scenario, s.Advert)
		g := goal{
			text: fmt.Sprintf("%s: no session of %d lost in any of %d rounds", where, s.Sessions, len(s.Survived)),
			got:  fmt.Sprint(lost), met: lost == 0,
		}
		if lost > 0 {
			g.missedBy = fmt.Sprint(lost)
		}
		goals = append(goals, g)
		if s.Advert > 100*time.Millisecond {
			continue
		}
		if s.Scenario == lab.Crash {
			goals = append(goals, below(where+": outage at most 30 ms above VRRP's detection", s.Added.Median(), 30*time.Millisecond))
		} else {
			goals = append(goals, below(where+": outage under 90 ms", s.Outage.Median(), 90*time.Millisecond))
		}
		goals = append(goals, below(where+": longest gap at most 250 ms above the outage", s.Most.Median()-s.Outage.Median(), 250*time.Millisecond).
			because("after an outage above 0.2 s TCP's timer has doubled and runs 0.4 s (sessions.md)"))
	}
	return goals
}

func (r *Results) scaleGoals() []goal {
	if len(r.Scale) == 0 {
		return nil
	}
	first, last := r.Scale[0], r.Scale[len(r.Scale)-1]
	near := fewer(fmt.Sprintf("%d WANs in less than 4 times the time of one, server 0 ms away", last.WANs), &last.Wanfail, &first.Wanfail, 4).
		because("the work is per WAN, for the keeper, the kernel and the one DHCP server; only waiting is shared, and with a server this near there is none")
	far := fewer(fmt.Sprintf("the same, server %v away", farAway), &last.Far, &first.Far, 4)
	return []goal{near, far}
}

func (r *Results) costGoals() []goal {
	if r.Cost == nil {
		return nil
	}
	g := goal{text: "keeper under 10 MB RSS (primary)", got: megabytes(r.Cost.PrimaryRSS), met: r.Cost.PrimaryRSS < 10<<10}
	if !g.met {
		g.missedBy = megabytes(r.Cost.PrimaryRSS - 10<<10)
	}
	return []goal{
		below("hook: start of the process to poke under 5 ms", r.Cost.Poke.Median(), 5*time.Millisecond),
		g.because("all but its anonymous memory are pages of the program's file, which hooks share"),
	}
}
