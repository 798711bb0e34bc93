package router

import (
	"fmt"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
)

// Lingering is how long a muted link stays where connections are replicated: the
// peer must have committed them before the kernel here deletes what it
// masqueraded on the link, since conntrackd passes deletions on.
const Lingering = 2 * time.Second

// Nobody stands for who asked where no role was requested since boot.
const Nobody = "default after boot; keepalived has called no hook"

// Exited is how a keepalived ended that was killed.
const Exited = "exited without notifying"

// Verdict is a role, who asked for it, and by which request.
type Verdict struct {
	Role  intent.Role
	By    string
	Token intent.Token // zero: nobody's
}

// Decision is what intents mean for a router.
type Decision struct {
	Verdict           // of the router: primary if any of its WANs is
	WANs    []Verdict // in the order of the instances
}

// Decide returns what intents mean for WANs that are bound to instances. The request
// of a process that has ended no longer counts: gone returns how it ended, nothing
// if it runs.
func Decide(is intent.Intents, instances []string, gone func(intent.Process) string) Decision {
	var d Decision
	for _, instance := range instances {
		v := wanted(is, instance, gone)
		if v.Role == intent.Primary && d.Role == intent.Backup || d.By == "" {
			d.Verdict = v
		}
		d.WANs = append(d.WANs, v)
	}
	if len(instances) == 0 {
		d.Verdict = wanted(is, "", gone)
	}
	return d
}

// wanted is the verdict on one WAN.
func wanted(is intent.Intents, instance string, gone func(intent.Process) string) Verdict {
	i, ok := is.For(instance)
	if !ok {
		return Verdict{By: Nobody}
	}
	if i.Role == intent.Primary && i.Owner != (intent.Process{}) {
		if why := gone(i.Owner); why != "" {
			return Verdict{By: fmt.Sprintf("keepalived[%d] %s", i.Owner.PID, why)}
		}
	}
	if i.Role == intent.Primary && i.Channel != (intent.Process{}) {
		if why := gone(i.Channel); why != "" {
			return Verdict{By: fmt.Sprintf("the reader[%d] of keepalived's FIFO %s; reload keepalived", i.Channel.PID, why)}
		}
	}
	return Verdict{Role: i.Role, By: i.By(), Token: i.Token}
}

// Disputes are warnings about roles that were set by hand while keepalived says
// something else.
func Disputes(wans []WAN, is intent.Intents, states intent.States, gone func(intent.Process) bool) (all []string) {
	for _, w := range wans {
		i, ok := is.For(w.Instance)
		if d, disputed := states.Disputed(i, w.Instance, gone); ok && disputed {
			all = append(all, w.Name+": "+d.Text())
		}
	}
	return all
}

// watches are the processes that intents and reported states depend on. The FIFO of
// a keepalived that has ended is the next one's, with a reader of its own.
func watches(is intent.Intents, states intent.States, gone func(intent.Process) bool) (all []Watch) {
	// In their order, so that a step is the same each time.
	for _, i := range is {
		if i.Role != intent.Primary {
			continue
		}
		if i.Owner != (intent.Process{}) {
			all = append(all, Watch{Process: i.Owner})
		}
		if i.Channel != (intent.Process{}) && !gone(i.Owner) {
			all = append(all, Watch{i.Channel, i.FIFO, i.Owner})
		}
	}
	for _, i := range states {
		all = append(all, Watch{Process: i.Owner})
		if i.FIFO != "" && !gone(i.Owner) { // a backup must hear that it becomes master
			all = append(all, Watch{i.Channel, i.FIFO, i.Owner})
		}
	}
	return all
}
