// Package doctor finds what will go wrong with a pair of routers before it does.
// Facts are gathered in one place and judged in another: each finding is a pure
// function of them.
package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities, which are also exit codes 1 and 2.
const (
	Warning Severity = "warning" // it will hurt somebody on some day
	Error   Severity = "error"   // a failover will not work, or not be safe
)

// Finding is one thing that is not as it should be.
type Finding struct {
	ID       string   `json:"id"` // stable
	Severity Severity `json:"severity"`
	Found    string   `json:"found"`
	Why      string   `json:"why"`
	// Fix is a line for the shell, with words after a #, or starts with words and
	// a colon where a person has to decide.
	Fix string `json:"fix"`
}

// Schema is the version of Diagnosis' form.
const Schema = 1

// Diagnosis is all that doctor says; the other router's compares with it.
type Diagnosis struct {
	Schema   int       `json:"schema"`
	Identity Identity  `json:"identity"`
	Findings []Finding `json:"findings"` // errors first
}

// Code is the exit code.
func (d Diagnosis) Code() int {
	code := 0
	for _, f := range d.Findings {
		if f.Severity == Error {
			return 2
		}
		code = 1
	}
	return code
}

// IDs are all that findings can have. That of a service ends in its name.
func IDs() []string {
	return []string{
		"root", "configuration", "keeper", "keepalived", "notify", "notify-master", "notify-backup", "notify-fault", "notify-stop",
		"hook-missing", "hook-owner", "hook-writable", "hook-user", "several-hooks", "advert-version", "drill-left",
		"enabled-*", "networkmanager", "networkd", "netifd", "ifupdown", "kernel", "parent", "mac-parent", "mac-global",
		"rp-filter", "forwarding", "tcp-liberal", "conntrackd", "conntrackd-filter", "firewall", "firewall-wan",
		"sync-hook", "dnsmasq-force", "clock", "boot-id",
		"peer-version", "peer-role", "peer-wan", "peer-macaddr", "peer-clientid", "peer-vendorclass", "peer-userclass", "peer-hostname",
		"peer-vrrp", "peer-virtual-router-id", "peer-vrrp-version", "peer-advert-int", "peer-virtual-ipaddress", "peer-priority",
		"probe", "probe-silent", "probe-unusable", "probe-servers",
	}
}

// Known returns which of IDs an ID is, empty if none.
func Known(id string) string {
	for _, known := range IDs() {
		if prefix, any := strings.CutSuffix(known, "*"); id == known || any && strings.HasPrefix(id, prefix) {
			return known
		}
	}
	return ""
}

// rule is one function that finds.
type rule func(*Facts) []Finding

// Examine judges the facts.
func Examine(f *Facts) Diagnosis {
	d := Diagnosis{Schema: Schema, Identity: f.identity(), Findings: []Finding{}}
	if f.UID != 0 {
		d.Findings = one("root", Error, fmt.Sprintf("doctor runs as uid %d", f.UID), "what it may not read looks like what is not there", "sudo wanfail doctor")
		return d
	}
	for _, r := range [...]rule{
		configuration, keeperRuns, keepalivedThere, missingHooks, refusedHooks, hookUser, severalHooks, fastAdverts, drillLeft,
		enabledServices, networkManager, networkd, netifd, ifupdown,
		parents, macAddress,
		reversePath, forwarding, liberalTCP, conntrackdThere, conntrackdFilter, firewall,
		syncHook, dnsmasqForce, clock,
	} {
		d.Findings = append(d.Findings, r(f)...)
	}
	return d.sorted()
}

// sorted has the errors first.
func (d Diagnosis) sorted() Diagnosis {
	all := make([]Finding, 0, len(d.Findings))
	for _, s := range [...]Severity{Error, Warning} {
		for _, f := range d.Findings {
			if f.Severity == s {
				all = append(all, f)
			}
		}
	}
	d.Findings = all
	return d
}

// With adds findings of another source.
func (d Diagnosis) With(more []Finding) Diagnosis {
	d.Findings = append(slices.Clone(d.Findings), more...)
	return d.sorted()
}
