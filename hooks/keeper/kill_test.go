package keeper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks/intent"
)

// The keeper is killed at each step of both transitions that its own code names,
// and the next keeper ends up exactly where an undisturbed one does.
func TestKilledAtEveryStep(t *testing.T) {
	r := newRig(t, true)
	undisturbed := map[intent.Role]string{}
	for _, role := range []intent.Role{intent.Primary, intent.Backup} {
		list := filepath.Join(t.TempDir(), "steps")
		r.prepare(role)
		r.startKeeper("WANFAIL_STEPS_KEEPER=" + list)
		r.record(r.intent(role))
		r.eventually(role.String(), 10*time.Second, func() bool { return r.settled(role) })
		undisturbed[role] = r.stateOf()
		raw, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Split(strings.TrimSpace(string(raw)), "\n")
		t.Logf("%d steps to %s: %s", len(names), role, strings.Join(names, ", "))
		for _, want := range wantSteps[role] {
			if !strings.Contains(string(raw), want) {
				t.Errorf("the steps to %s lack %q", role, want)
			}
		}
		r.killKeepers()
	}
	kills := map[intent.Role]int{}
	for _, role := range []intent.Role{intent.Primary, intent.Backup} {
		for n, survived := 1, 0; survived < 3; n++ {
			if n > 200 {
				t.Fatal("a keeper takes more than 200 steps")
			}
			if r.killedAt(role, n, undisturbed[role]) {
				kills[role]++
				survived = 0
			} else {
				survived++ // the order of steps that happen at once varies, and so does their number
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("killed %d times on the way to primary, %d to backup", kills[intent.Primary], kills[intent.Backup])
	if kills[intent.Primary] < 25 || kills[intent.Backup] < 10 {
		t.Error("the code names fewer steps than there are")
	}
}

// wantSteps shows that each kind of step is among those enumerated.
var wantSteps = map[intent.Role][]string{
	intent.Primary: {
		"intent taken: primary", "log: add link", "log: set up link", "log: mark link", "log: disable ipv6", "log: set up parent", "log: quiet parent",
		"log: sent", "log: lease", "log: add address", "log: add route", "start alpha", "started beta",
	},
	intent.Backup: {"intent taken: backup", "log: mute link", "log: delete link", "stop alpha", "stopped beta"},
}

// prepare makes the opposite of a role, with no keeper.
func (r *rig) prepare(role intent.Role) {
	r.t.Helper()
	other := intent.Primary - role
	r.startKeeper()
	r.record(r.intent(other))
	r.eventually(other.String(), 10*time.Second, func() bool { return r.settled(other) })
	r.killKeepers()
	if role == intent.Backup {
		return
	}
	// As after a boot: no lease is remembered, and the parent is untouched.
	if err := os.RemoveAll(filepath.Join(r.dir, wanName+".lease")); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+port+"/arp_ignore", []byte("0"), 0); err != nil {
		r.t.Fatal(err)
	}
	parent, err := netlink.LinkByName(port)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := netlink.LinkSetDown(parent); err != nil {
		r.t.Fatal(err)
	}
}

// killedAt lets a keeper die at step n on the way to a role, and compares where
// the next one gets. It reports whether there was such a step.
func (r *rig) killedAt(role intent.Role, n int, want string) (killed bool) {
	r.t.Helper()
	r.prepare(role)
	_, died := r.startKeeper(fmt.Sprintf("WANFAIL_KILL_KEEPER=%d", n))
	r.record(r.intent(role))
	deadline := time.Now().Add(10 * time.Second)
	for !killed && !r.settled(role) {
		select {
		case <-died:
			killed = true
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("step %d to %s: neither killed nor there", n, role)
		}
	}
	r.killKeepers()
	r.startKeeper()
	r.eventually(fmt.Sprintf("%s after a kill at step %d", role, n), 10*time.Second, func() bool { return r.settled(role) })
	if got := r.stateOf(); got != want {
		r.t.Errorf("killed at step %d to %s, what differs is\n%s", n, role, difference(want, got))
	}
	r.killKeepers()
	return killed
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range w {
		if !slices.Contains(g, line) {
			fmt.Fprintf(&b, "undisturbed: %s\n", line)
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			fmt.Fprintf(&b, "now:         %s\n", line)
		}
	}
	return b.String()
}
