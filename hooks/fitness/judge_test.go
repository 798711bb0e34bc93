package fitness

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/services"
)

func TestFill(t *testing.T) {
	running := intent.Process{PID: 7, Start: 1}
	unit := services.Details{Installed: true, AtBoot: true, State: services.Running, PID: 7}
	for name, c := range map[string]struct {
		f    Facts
		r    control.Report
		want []string // parts of the warnings, one each
	}{
		"fit":       {Facts{Process: running, Unit: unit, Backend: "systemd", Boot: []control.AtBoot{{Name: "keepalived", Enabled: true}}}, control.Report{Conntrackd: "ok"}, nil},
		"stopped":   {Facts{Unit: services.Details{Installed: true}, Backend: "systemd"}, control.Report{}, []string{"keepalived does not run: `systemctl start keepalived`; until then this router cannot become master"}},
		"OpenWrt":   {Facts{Unit: services.Details{Installed: true}, Backend: "init"}, control.Report{}, []string{"`/etc/init.d/keepalived start`"}},
		"given up":  {Facts{Unit: services.Details{Installed: true, Failure: "procd has given it up after crashes"}, Backend: "init"}, control.Report{}, []string{"keepalived does not run: procd has given it up after crashes; "}},
		"not there": {Facts{}, control.Report{}, []string{"keepalived does not run: start it"}},
		"primary":   {Facts{}, control.Report{Role: intent.Primary}, []string{"nothing decides who is master"}},
		"FAULT": {Facts{Process: running}, control.Report{VRRP: []control.VRRP{{Name: "VI_1", State: "FAULT", PID: 7, Alive: true}, {Name: "VI_2", State: "BACKUP", PID: 7, Alive: true}}}, []string{
			"keepalived[7] is in FAULT of VI_1: this router cannot become master",
		}},
		"FAULT of a keepalived that has ended": {Facts{Process: running}, control.Report{VRRP: []control.VRRP{{State: "FAULT", PID: 6}}}, nil},
		"connections":                          {Facts{Process: running}, control.Report{Conntrackd: "failing: conntrackd is not running"}, []string{"conntrackd is not running; a failover to this router would lose the connections"}},
		"the keeper says that of a primary":    {Facts{Process: running}, control.Report{Role: intent.Primary, Conntrackd: "failing: x"}, nil},
		"no replication":                       {Facts{Process: running}, control.Report{Conntrackd: "off"}, nil},
		"next boot": {Facts{Process: running, Backend: "systemd", Boot: []control.AtBoot{{Name: "keepalived"}, {Name: "wanfail"}, {Name: "nftables"}, {Name: "conntrackd"}}}, control.Report{}, []string{
			"keepalived is not started at boot, after which this router will not take part: `systemctl enable keepalived`",
			"wanfail is not started at boot", "nftables is not started at boot, after which there will be no firewall", "conntrackd is not started at boot",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.Fill(&c.r)
			if len(c.r.Warnings) != len(c.want) {
				t.Fatalf("got %q, want %q", c.r.Warnings, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(c.r.Warnings[i], want) {
					t.Errorf("got %q, want %q", c.r.Warnings[i], want)
				}
			}
			if c.r.Keepalived.PID != c.f.Process.PID {
				t.Errorf("pid %d", c.r.Keepalived.PID)
			}
		})
	}
}

func TestNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nftables.conf")
	if got := names(false, file); !slices.Equal(got, []string{"keepalived", "wanfail", "firewall"}) {
		t.Errorf("without a file: %q", got)
	}
	for text, want := range map[string]bool{"#!/usr/sbin/nft -f\nflush ruleset\n": false, "oifname wan masquerade\n": true, "snat to 192.0.2.1\n": true} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := names(true, file); slices.Contains(got, "nftables") != want || !slices.Contains(got, "conntrackd") {
			t.Errorf("%q: %q", text, got)
		}
	}
}
