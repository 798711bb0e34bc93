package command_test

import (
	"os"
	"strings"
	"testing"
)

// What a person requests is compared with the state of a real keepalived.
func TestByHandAgainstKeepalived(t *testing.T) {
	p := newPairing(t)
	file := p.dir + "/k/keepalived.conf"
	p.write(file, p.config(100, p.hooks()), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(250, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
	p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "Entering MASTER STATE")
	own := p.keepalived(p.router, file)
	p.await(`"state": "BACKUP"`, "status", "--json")

	record, err := os.ReadFile(p.dir + "/run/intent.json")
	if err != nil {
		t.Fatal(err)
	}
	says := func(out, what string, code, want int) {
		t.Helper()
		if code != want || !strings.Contains(out, what) {
			t.Errorf("exit code %d, want %d and %q:\n%s", code, want, what, out)
		}
	}
	out, code := p.wanfail("primary")
	says(out, "says BACKUP", code, 2)
	if now, _ := os.ReadFile(p.dir + "/run/intent.json"); string(now) != string(record) {
		t.Errorf("the refusal changed the record:\n%s\n%s", record, now)
	}
	if out, _ := p.wanfail("primary", "--dry-run"); !strings.Contains(out, "says BACKUP") {
		t.Errorf("the dry run does not say what keepalived says:\n%s", out)
	}
	const primaryWarning = "primary, set by hand; keepalived["
	out, code = p.wanfail("primary", "--force")
	says(out, primaryWarning, code, 0)
	p.await(primaryWarning, "status", "--json")

	// keepalived reports the same: the warning ends.
	peer.stop()
	own.await(t, "Entering MASTER STATE")
	p.await(`"state": "MASTER"`, "status", "--json")
	if out, _ := p.wanfail("status", "--json"); strings.Contains(out, "set by hand") {
		t.Errorf("still a warning:\n%s", out)
	}
	out, code = p.wanfail("backup")
	says(out, "run `wanfail drill` or stop keepalived", code, 0)
	p.await("neither router may be primary", "status", "--json")

	// Without keepalived the person alone decides about the role.
	own.stop()
	p.await(`"alive": false`, "status", "--json")
	out, code = p.wanfail("primary")
	says(out, "primary after", code, 0)
	if out, _ := p.wanfail("status", "--json"); strings.Contains(out, "set by hand") {
		t.Errorf("a warning about a keepalived that has ended:\n%s", out)
	}
}
