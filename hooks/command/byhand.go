package command

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
)

// disputes are the states of a running keepalived that contradict a role that a
// person requests, each once. Requests of keepalived itself are not checked.
func disputes(c *cli.Context, i intent.Intent) (all []intent.Dispute) {
	if i.Owner != (intent.Process{}) {
		return nil
	}
	_, states, err := intent.ReadIntents(runDir(c))
	if err != nil {
		return nil // nothing is known, and the command replaces what cannot be read
	}
	for _, instance := range instances(c, states) {
		if d, ok := states.Disputed(i, instance, intent.Process.Gone); ok && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// instances are those that drive a WAN or, without a readable configuration, all
// that keepalived has named.
func instances(c *cli.Context, states intent.States) (names []string) {
	cfg, err := config.Load(c.String("config"))
	for _, w := range cfg.WANs {
		names = append(names, w.Instance)
	}
	if err != nil {
		for _, s := range states {
			names = append(names, s.Scope)
		}
	}
	return names
}

// refusal tells a person why this router does not become primary.
func refusal(d intent.Dispute) string {
	return d.Says() + ", so the peer is probably primary; two primaries with one MAC address break both. " +
		"To move the role, run `wanfail drill` on the master or stop keepalived there; to be primary all the same, add --force"
}

// advice is for those who made the router backup while it is master.
func advice(d intent.Dispute) string {
	if d.ByHand.Role == intent.Primary {
		return ""
	}
	return "; to move the role to the peer, run `wanfail drill` or stop keepalived"
}
