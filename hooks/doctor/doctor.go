// Package doctor finds what will go wrong with a pair of routers before it does.
// Facts are gathered in one place and judged in another: each finding is a pure
// function of them.
package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wanfail/wanfail/hooks/files"
)

// Severity is how bad a finding is.
type Severity string

// The severities, which are also exit codes 1 and 2.
const (
	Warning Severity = "warning" // something will fail under some circumstances
	Error   Severity = "error"   // a failover will not work, or not be safe
)

// Finding is one thing that is not as it should be.
type Finding struct {
	ID       string   `json:"id"` // stable
	Severity Severity `json:"severity"`
	Found    string   `json:"found"`
	Why      string   `json:"why"`
	// Fix is a line for the shell, with a comment after a #, or begins with "by hand:"
	// where a person has to decide.
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
		"root", "configuration", "keeper", "boot-*", "role-by-hand",
		"keepalived", "keepalived-stopped", "keepalived-test", "vrrp-fault", "no-master",
		"notify", "notify-master", "notify-backup", "notify-fault", "notify-stop", "notify-role", "several-hooks",
		"hook-missing", "hook-owner", "hook-writable", "hook-user",
		"advert-version", "vrrp-state", "track-interface", "track-wan", "backup-gateway", "drill-left",
		"enabled-*", "networkmanager", "networkd", "uci", "netifd", "netifd-wan", "ifupdown", "kernel", "parent", "mac-parent", "mac-global",
		"rp-filter", "forwarding", "tcp-liberal", "sysctl-file",
		"conntrackd", "conntrackd-filter", "conntrackd-link", "conntrackd-hash", "conntrackd-unit", "networkd-link",
		"firewall", "firewall-wan", "firewall-masquerade", "firewall-vrrp", "firewall-conntrackd",
		"sync-hook", "dnsmasq-force", "dhcp-option", "dhcp-ra", "clock", "boot-id",
		"peer-version", "peer-role", "peer-wan", "peer-options", "peer-macaddr", "peer-clientid", "peer-vendorclass", "peer-userclass", "peer-hostname",
		"peer-sendopt", "peer-request", "peer-broadcast", "peer-rapidcommit", "peer-expect", "peer-instance", "peer-defaultroute", "peer-peerdns", "peer-metric", "peer-mtu",
		"peer-service", "peer-conntrackd", "peer-backup-gateway",
		"peer-vrrp", "peer-virtual-router-id", "peer-vrrp-version", "peer-advert-int", "peer-virtual-ipaddress", "peer-authentication",
		"peer-unicast", "peer-unicast-peer", "peer-interface", "peer-state", "peer-priority",
		"probe", "probe-silent", "probe-unusable", "probe-servers",
	}
}

// Known returns which of IDs an ID is, empty if none.
func Known(id string) string {
	if slices.Contains(IDs(), id) {
		return id
	}
	for _, known := range IDs() {
		if prefix, any := strings.CutSuffix(known, "*"); any && strings.HasPrefix(id, prefix) {
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
		configuration, keeperRuns,
		keepalivedThere, keepalivedRuns, nextBoot, syntax, missingHooks, wrongRole, refusedHooks, hookUser, severalHooks,
		fastAdverts, vrrpState, tracking, backupGateway, drillLeft, noMaster, fault, byHandRole,
		enabledServices, networkManager, networkd, uciFiles, netifd, ifupdown,
		parents, macAddress,
		reversePath, forwarding, liberalTCP, sysctlFile,
		conntrackdThere, conntrackdFilter, conntrackdLink, conntrackdHash, conntrackdUnit, networkdLink,
		firewall, zones, syncHook, dhcpServed, clock,
	} {
		d.Findings = append(d.Findings, r(f)...)
	}
	return d.sorted()
}

// sorted has the errors first. What was read of files that others wrote cannot steer
// a terminal.
func (d Diagnosis) sorted() Diagnosis {
	all := make([]Finding, 0, len(d.Findings))
	for _, s := range [...]Severity{Error, Warning} {
		for _, f := range d.Findings {
			if f.Severity == s {
				f.Found, f.Why, f.Fix = files.Lines(f.Found), files.Lines(f.Why), files.Lines(f.Fix)
				all = append(all, f)
			}
		}
	}
	d.Findings = all
	return d
}

// Without leaves out findings.
func (d Diagnosis) Without(ids ...string) Diagnosis {
	d.Findings = slices.DeleteFunc(slices.Clone(d.Findings), func(f Finding) bool { return slices.Contains(ids, f.ID) })
	return d
}

// With adds findings of another source.
func (d Diagnosis) With(more []Finding) Diagnosis {
	d.Findings = append(slices.Clone(d.Findings), more...)
	return d.sorted()
}
