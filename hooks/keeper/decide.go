package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/config"
)

// lingering is how long a muted link stays where connections are replicated: the
// peer must have committed them before the kernel here deletes what it
// masqueraded on the link, since conntrackd passes deletions on.
const lingering = 2 * time.Second

// reload takes over what was recorded.
func (k *Keeper) reload() {
	recorded, err := k.store.Load()
	if err != nil {
		k.log.Error("cannot use the recorded intent", "error", err)
	}
	for _, i := range recorded {
		k.hear(i)
	}
	states, err := k.store.States()
	if err == nil { // else said above
		for _, i := range states {
			k.states = k.states.With(i, k.gone)
		}
		k.own()
	}
	// What is known here but not there was lost there: a later keeper needs it.
	k.preserve(recorded)
}

// preserve puts on record what is known but not recorded.
func (k *Keeper) preserve(recorded hooks.Intents) {
	missing := slices.DeleteFunc(slices.Clone(k.intents), recorded.Holds)
	if len(missing) > 0 {
		k.memo.keep(missing)
	}
}

// hear takes one intent, whatever way it came. An older one than is known
// already changes nothing.
func (k *Keeper) hear(i hooks.Intent) (newer *hooks.Intent) {
	k.states = k.states.With(i, k.gone)
	with, newer := k.intents.With(i)
	if newer == nil {
		k.intents = with
	}
	k.own()
	return newer
}

// own watches each keepalived that an intent or a reported state rests on, and no
// other.
func (k *Keeper) own() {
	needed := map[hooks.Process]bool{}
	for _, i := range k.states {
		needed[i.Owner] = true
		if k.owners[i.Owner] == nil {
			k.owners[i.Owner] = k.watchOwner(i.Owner, 0)
		}
	}
	for _, i := range k.intents {
		if i.Role != hooks.Primary {
			continue
		}
		for p, grace := range map[hooks.Process]time.Duration{i.Owner: 0, i.Channel: handover} {
			if p == (hooks.Process{}) {
				continue
			}
			needed[p] = true
			if k.owners[p] == nil {
				k.owners[p] = k.watchOwner(p, grace)
			}
		}
	}
	for p, o := range k.owners {
		if !needed[p] {
			o.cancel()
			delete(k.owners, p)
		}
	}
}

// handover is how long another reader of the FIFO may take to step in for one
// that has ended: keepalived replaces it when it reloads, and says nothing new.
const handover = time.Second

// watchOwner watches a process that intents rest on. Its death counts after
// grace.
func (k *Keeper) watchOwner(p hooks.Process, grace time.Duration) *owner {
	ctx, cancel := context.WithCancel(k.life)
	o := &owner{cancel: cancel}
	gone := func(why string) {
		if o.gone == "" {
			o.gone = why
		}
	}
	err := watchDeath(ctx, p, func() {
		select {
		case <-time.After(grace):
			k.do(func() { gone(withoutAWord) })
		case <-ctx.Done():
		}
	})
	k.watchUnit(ctx, p, func() { k.do(func() { gone("is being stopped") }) })
	switch {
	case errors.Is(err, hooks.ErrGone):
		gone(withoutAWord)
	case err != nil:
		k.log.Error("cannot watch keepalived: its death without a word would go unnoticed", "pid", p.PID, "error", err)
	}
	return o
}

// verdict is a role, who says so, and by which wish.
type verdict struct {
	role  hooks.Role
	by    string
	token hooks.Token // zero: nobody's
}

// wanted is what intents mean for the WANs of an instance. The wish of a
// keepalived that is gone counts no more; gone says what became of it, nothing
// if it lives.
func wanted(is hooks.Intents, instance string, gone func(hooks.Process) string) verdict {
	i, ok := is.For(instance)
	if !ok {
		return verdict{by: nobody}
	}
	if i.Role == hooks.Primary && i.Owner != (hooks.Process{}) {
		if why := gone(i.Owner); why != "" {
			return verdict{by: fmt.Sprintf("keepalived[%d] %s", i.Owner.PID, why)}
		}
	}
	if i.Role == hooks.Primary && i.Channel != (hooks.Process{}) {
		if why := gone(i.Channel); why != "" {
			return verdict{by: fmt.Sprintf("the reader[%d] of keepalived's FIFO %s; reload keepalived", i.Channel.PID, why)}
		}
	}
	return verdict{role: i.Role, by: i.By(), token: i.Token}
}

// withoutAWord is what became of a keepalived that was killed.
const withoutAWord = "is gone without a word"

// goneNow asks the kernel, for a process that watches nobody.
func goneNow(p hooks.Process) string {
	if p.Gone() {
		return withoutAWord
	}
	return ""
}

func (k *Keeper) wanted(instance string) verdict {
	return wanted(k.intents, instance, func(p hooks.Process) string {
		if o := k.owners[p]; o != nil {
			return o.gone
		}
		return ""
	})
}

// gone reports whether a keepalived has ended, or is about to.
func (k *Keeper) gone(p hooks.Process) bool {
	if o := k.owners[p]; o != nil {
		return o.gone != ""
	}
	return p.Gone()
}

// disputes are warnings about roles that were set by hand while keepalived says
// something else.
func disputes(wans []config.WAN, is hooks.Intents, states hooks.States, gone func(hooks.Process) bool) (all []string) {
	for _, w := range wans {
		i, ok := is.For(w.Instance)
		if d, disputed := states.Disputed(i, w.Instance, gone); ok && disputed {
			all = append(all, w.Name+": "+d.Text())
		}
	}
	return all
}

// decide compares what should be with what was ordered, gives orders, and tells
// those who wait.
func (k *Keeper) decide(ctx context.Context) {
	var whole, news verdict // of the router, and what is new about it
	changed := map[*wan]verdict{}
	for _, w := range k.wans {
		v := k.wanted(w.Instance)
		if v.role == hooks.Primary && whole.role == hooks.Backup || whole.by == "" {
			whole = v
		}
		if !k.started || v.role != w.ordered.role {
			changed[w] = v
			news = v
		}
	}
	if !k.started || len(changed) > 0 {
		if news.by == "" {
			news = whole
		}
		k.begin(ctx, whole.role, news, changed)
	}
	k.resume()
	k.conclude()
	k.inform()
}

// begin orders what has changed. WANs that follow others to the role that the
// router is on its way to take part in that transition.
func (k *Keeper) begin(ctx context.Context, role hooks.Role, news verdict, changed map[*wan]verdict) {
	if !k.joins(role, changed) {
		k.abandon()
		k.memory.busy()
		k.epoch++
		k.now = &transition{epoch: k.epoch, Transition: hooks.Transition{At: time.Now(), Role: role, By: news.by}}
	}
	k.cause = news.token
	k.Step("intent taken: " + role.String())
	if !k.started || role != k.role {
		k.turn(ctx, role)
		k.since, k.by = time.Now(), news.by
		if k.Roles != nil {
			k.Roles(role, news.by)
		}
	}
	for _, w := range k.wans {
		v, isNew := changed[w]
		if !isNew {
			continue
		}
		w.ordered = order{epoch: k.epoch, role: v.role, gate: k.gate}
		w.ordered.release = v.role == hooks.Backup && v.token != (hooks.Token{}) && v.token == k.release
		if k.Replica != nil {
			w.ordered.linger = lingering
		}
		w.uplink.obey(w.ordered)
	}
	k.started = true
}

// joins reports whether the changes are more of the transition under way, and
// take nothing of it back.
func (k *Keeper) joins(role hooks.Role, changed map[*wan]verdict) bool {
	if k.now == nil || !k.started || role != k.role || role != k.now.Role {
		return false
	}
	for w, v := range changed {
		if v.role != role || w.ordered.epoch == k.now.epoch {
			return false
		}
	}
	return true
}

// turn does what the role of the whole router asks for, beside its WANs.
func (k *Keeper) turn(ctx context.Context, role hooks.Role) {
	if role == hooks.Primary {
		k.fallback.leave(ctx)
	} else {
		k.fallback.enter()
	}
	switch {
	case role == hooks.Primary && k.adopted():
		k.gate, k.resumed = openGate(), true // the connections are the kernel's own
	case role == hooks.Primary:
		k.gate, k.resumed = k.commits.promote(k.epoch), false
	case k.started || slices.ContainsFunc(k.wans, func(w *wan) bool { return w.held }):
		// Only a router that was primary: a returning one must not touch the table
		// that the peer is still sending it.
		k.commits.demote(k.epoch)
	}
	k.role = role
	k.serving = target{epoch: k.epoch, up: role == hooks.Primary}
	k.daemons.obey(k.serving)
}

// adopted reports whether the router was primary before this keeper came.
func (k *Keeper) adopted() bool {
	return !k.started && slices.ContainsFunc(k.wans, func(w *wan) bool { return w.adopted })
}

// serves reports whether the services are as ordered last, or cannot be.
func (k *Keeper) serves() bool { return k.served.epoch == k.serving.epoch && k.served.settled }

// resume lets the replication follow once a promoted address is up.
func (k *Keeper) resume() {
	if k.role != hooks.Primary || k.resumed {
		return
	}
	for _, w := range k.wans {
		if w.ordered.role == hooks.Primary && w.settled() {
			k.commits.resume(k.serving.epoch)
			k.resumed = true
			return
		}
	}
}

// committed takes the end of a job of the replication.
func (k *Keeper) committed(epoch int, p hooks.Phase) {
	k.replica = p.Error
	if k.now != nil && k.now.epoch == epoch {
		k.now.extra = append(k.now.extra, p)
	}
}

// replication says how conntrackd does.
func (k *Keeper) replication() string {
	switch {
	case k.Replica == nil:
		return "off"
	case k.replicaDown != nil:
		return "failing: " + k.replicaDown.Error()
	case k.replica != "":
		return "failing: " + k.replica
	}
	return "ok"
}
