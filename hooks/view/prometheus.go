package view

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// metric is one family of Prometheus' text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
type metric struct {
	name, help string
	samples    []sample
}

type sample struct {
	labels []string // name, value, name, value
	value  float64
}

func (m *metric) add(value float64, labels ...string) {
	m.samples = append(m.samples, sample{labels, value})
}

// Prometheus writes a report in the text format that node_exporter's textfile
// collector reads. What changes with time alone is given as the moment at which
// it happens: such a file may be read much later than it was written.
func Prometheus(w io.Writer, r control.Report, now time.Time) {
	for _, m := range metrics(r, now) {
		if len(m.samples) == 0 {
			continue
		}
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n", m.name, m.help, m.name)
		for _, s := range m.samples {
			fmt.Fprintf(w, "%s%s %s\n", m.name, labelSet(s.labels), strconv.FormatFloat(s.value, 'f', -1, 64))
		}
	}
}

func metrics(r control.Report, now time.Time) []metric {
	return append(append([]metric{
		gauge("wanfail_info", "Version of the keeper, or of this program when none runs.", 1, "version", r.Version),
		gauge("wanfail_keeper_up", "Whether a keeper runs.", truth(r.PID != 0)),
		gauge("wanfail_primary", "Whether this router is primary.", truth(r.Role == intent.Primary)),
		moment("wanfail_role_since_timestamp_seconds", "When the role was taken.", r.Since),
		gauge("wanfail_role_changes", "Changes of the role since the keeper started.", float64(r.Changes)),
		gauge("wanfail_warnings", "Number of warnings that `wanfail status` shows.", float64(len(r.Warnings))),
	}, wanMetrics(r.WANs, now)...), routerMetrics(r)...)
}

func gauge(name, help string, value float64, labels ...string) metric {
	m := metric{name: name, help: help}
	m.add(value, labels...)
	return m
}

func moment(name, help string, t time.Time) metric {
	m := metric{name: name, help: help}
	if !t.IsZero() {
		m.add(seconds(t))
	}
	return m
}

func wanMetrics(wans []control.WAN, now time.Time) []metric {
	info := metric{name: "wanfail_wan_info", help: "What the WAN is made of."}
	state := metric{name: "wanfail_wan_state", help: "The state that the WAN is in."}
	held := metric{name: "wanfail_wan_address_held", help: "Whether the WAN holds a leased address."}
	expires := metric{name: "wanfail_wan_lease_expires_timestamp_seconds", help: "When the lease ends unless it is renewed; +Inf if never."}
	total := metric{name: "wanfail_wan_lease_seconds", help: "Length of the lease as granted; +Inf if it never ends."}
	renews := metric{name: "wanfail_wan_lease_renewal_timestamp_seconds", help: "When the lease is renewed next."}
	reachable := metric{name: "wanfail_wan_gateway_reachable", help: "Whether the gateway answered the last ARP request."}
	reply := metric{name: "wanfail_wan_gateway_last_reply_timestamp_seconds", help: "When the gateway answered an ARP request last."}
	rtt := metric{name: "wanfail_wan_gateway_rtt_seconds", help: "Round trip time of that ARP request."}
	failing := metric{name: "wanfail_wan_failing", help: "Whether something keeps the WAN from its role."}
	for _, n := range wans {
		label := []string{"wan", n.Name}
		info.add(1, "wan", n.Name, "parent", n.Parent, "mac", n.MAC, "address", text(n.Address.IsValid(), n.Address),
			"gateway", text(n.Gateway.IsValid(), n.Gateway), "server", text(n.Server.IsValid(), n.Server))
		state.add(1, "wan", n.Name, "state", n.State)
		held.add(truth(n.Address.IsValid()), label...)
		failing.add(truth(n.Error != ""), label...)
		if n.Address.IsValid() {
			expires.add(ahead(now, n.LeaseSeconds), label...)
			if n.LeaseTotal != 0 {
				total.add(length(n.LeaseTotal), label...)
			}
			if n.RenewSeconds > 0 {
				renews.add(ahead(now, n.RenewSeconds), label...)
			}
		}
		if g := n.Gatewayed; g != nil {
			reachable.add(truth(g.Reachable), label...)
			if !g.LastReply.IsZero() {
				reply.add(seconds(g.LastReply), label...)
				rtt.add(float64(g.RTTMicros)/1e6, label...)
			}
		}
	}
	return []metric{info, state, held, failing, expires, total, renews, reachable, reply, rtt}
}

func routerMetrics(r control.Report) []metric {
	running := metric{name: "wanfail_service_running", help: "Whether the service runs."}
	failing := metric{name: "wanfail_service_failing", help: "Whether the service could not be brought to what the role wants."}
	for _, s := range r.Services {
		if s.Pending {
			continue
		}
		running.add(truth(s.Running), "service", s.Name, "backend", s.Backend)
		failing.add(truth(s.Error != ""), "service", s.Name, "backend", s.Backend)
	}
	replication := metric{name: "wanfail_conntrackd_ok", help: "Whether connections are replicated without an error; absent if conntrackd is not used."}
	if r.Conntrackd != "" && r.Conntrackd != "off" {
		replication.add(truth(r.Conntrackd == "ok"))
	}
	vrrp := metric{name: "wanfail_keepalived_running", help: "Whether keepalived runs."}
	if r.Keepalived != nil {
		vrrp.add(truth(r.Keepalived.PID != 0))
	}
	states := metric{name: "wanfail_vrrp_state", help: "The state that keepalived notified last, of one that still runs."}
	for _, v := range r.VRRP {
		if v.Alive {
			states.add(1, "instance", v.Name, "state", v.State)
		}
	}
	boot := metric{name: "wanfail_boot_enabled", help: "Whether a boot starts the service."}
	for _, b := range r.Boot {
		boot.add(truth(b.Enabled), "service", b.Name)
	}
	at := metric{name: "wanfail_transition_timestamp_seconds", help: "When the last transition to the role began."}
	took := metric{name: "wanfail_transition_seconds", help: "How long the last transition to the role took."}
	failed := metric{name: "wanfail_transition_failed_phases", help: "How many phases of that transition failed."}
	phase := metric{name: "wanfail_transition_phase_seconds", help: "When a phase of that transition had ended, from its begin."}
	newest := map[intent.Role]control.Transition{}
	for _, t := range r.Transitions {
		newest[t.Role] = t
	}
	for _, role := range []intent.Role{intent.Backup, intent.Primary} {
		t, ok := newest[role]
		if !ok {
			continue
		}
		at.add(seconds(t.At), "role", role.String())
		took.add(t.Took.Seconds(), "role", role.String())
		seen, failures := map[string]bool{}, 0
		for _, p := range t.Phases {
			if p.Error != "" {
				failures++
			}
			if !seen[p.Name] { // a series may stand once
				seen[p.Name] = true
				phase.add(p.At.Seconds(), "role", role.String(), "phase", p.Name)
			}
		}
		failed.add(float64(failures), "role", role.String())
	}
	return []metric{running, failing, replication, vrrp, states, boot, at, took, failed, phase}
}

func labelSet(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var parts []string
	for i := 0; i < len(labels); i += 2 {
		parts = append(parts, labels[i]+`="`+escape.Replace(strings.ToValidUTF8(labels[i+1], "�"))+`"`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func text(valid bool, v fmt.Stringer) string {
	if !valid {
		return ""
	}
	return v.String()
}

// length is a number of seconds where -1 means forever.
func length(s int64) float64 {
	if s < 0 {
		return math.Inf(1)
	}
	return float64(s)
}

func ahead(now time.Time, s int64) float64 {
	if s < 0 {
		return math.Inf(1)
	}
	return float64(now.Unix() + s)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
