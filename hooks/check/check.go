// Package check decides whether a router is fit to be master, for keepalived's
// track_script. It reads the state and sends nothing.
package check

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/netif"
)

// Settling is how long a new primary may be without a lease or an answer of its
// gateway: a priority that drops while the router is still taking over would give
// the role back to the router that just lost it.
const Settling = 30 * time.Second

// Facts are what a verdict depends on.
type Facts struct {
	Now     time.Time
	Local   bool // only what is this router's own, not the lease and the gateway
	Tracked bool // keepalived itself asks, for its track_script
	Config  error
	Keeper  error // why it cannot be asked
	Report  control.Report
	Parents []Parent
	Missing []string // services that the configuration names and that are not installed
	Unasked error    // why the service manager could not be asked in time
}

// Parent is what the kernel reports of a WAN's port.
type Parent struct {
	WAN, Name string
	Seen      netif.Observed
	Err       error
}

// Verdict reports whether the router can be master, or stay it, and why.
func Verdict(f Facts) (ok bool, reason string) {
	if err := fault(f); err != nil {
		return false, err.Error()
	}
	if f.Report.Role == intent.Backup || f.Local {
		reason = f.Report.Role.String() + ", could be primary"
		if f.Report.Role == intent.Primary {
			reason = "primary"
		}
		if f.Unasked != nil {
			reason += "; services not asked: " + f.Unasked.Error()
		}
		return true, reason
	}
	reason = "primary"
	for _, w := range f.Report.WANs {
		if w.Role != intent.Primary {
			continue
		}
		state, err := line(w)
		if err != nil {
			age := f.Now.Sub(f.Report.Since)
			was := w.Gatewayed != nil && !w.Gatewayed.LastReply.IsZero() // it did answer
			if was || age < 0 || age >= Settling {                       // before: a clock that was set back
				return false, err.Error()
			}
			state = fmt.Sprintf("%v; primary for %v only", err, age.Round(time.Second))
		}
		reason += "; " + state
	}
	return true, reason
}

// fault is what is wrong with this router itself.
func fault(f Facts) error {
	switch {
	case f.Config != nil:
		return fmt.Errorf("configuration: %w", f.Config)
	case errors.Is(f.Keeper, control.ErrNoKeeper):
		return f.Keeper
	case f.Keeper != nil:
		return fmt.Errorf("keeper: %w", f.Keeper)
	}
	for _, p := range f.Parents {
		switch {
		case p.Err != nil:
			return fmt.Errorf("%s: %w", p.WAN, p.Err)
		case !p.Seen.ParentExists:
			return fmt.Errorf("%s: parent %s does not exist", p.WAN, p.Name)
		// A backup's parent may be down: wanfail sets it up. Then it has no carrier
		// that could be asked for.
		case p.Seen.ParentUp && !p.Seen.ParentCarrier:
			return fmt.Errorf("%s: parent %s has no carrier", p.WAN, p.Name)
		case p.Seen.Exists && !p.Seen.Owned:
			return fmt.Errorf("%s: a %s of this name is not wanfail's", p.WAN, p.Seen.Kind)
		}
	}
	if f.Report.Role == intent.Backup && len(f.Missing) > 0 {
		return fmt.Errorf("services not installed: %v", f.Missing)
	}
	return unfit(f)
}

// unfit is what else prevents the role.
//
// keepalived's own state must not count for its script: one that fails because of
// FAULT keeps keepalived in FAULT. And connections that would be lost are no reason for
// FAULT, which --local without a weight means: a master that has them not is
// better than none.
func unfit(f Facts) error {
	var all []string
	if !f.Tracked {
		all = fitness.VRRP(f.Report)
	}
	if !f.Local {
		all = append(all, fitness.Connections(f.Report)...)
	}
	if len(all) > 0 {
		return errors.New(strings.Join(all, "; "))
	}
	return nil
}

// line is the state of a WAN of a primary.
func line(w control.WAN) (string, error) {
	switch {
	case w.Error != "":
		return "", fmt.Errorf("%s: %s", w.Name, w.Error)
	case !w.Address.IsValid():
		return "", fmt.Errorf("%s: no lease (%s)", w.Name, w.State)
	case w.Gatewayed != nil && !w.Gatewayed.Reachable:
		return "", fmt.Errorf("%s: gateway %s does not answer", w.Name, w.Gateway)
	case w.Gatewayed == nil:
		return w.Name + " has " + w.Address.String(), nil
	}
	return w.Name + " has " + w.Address.String() + ", gateway answers", nil
}
