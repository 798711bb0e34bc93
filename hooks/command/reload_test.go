package command_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a reload keepalived replaces the reader of its FIFO and repeats no state. A
// real one, with a reader that a busy machine starts seconds later: the role stays,
// and what keepalived says meanwhile is heard.
func TestReloadWithSlowReader(t *testing.T) {
	p := newPairing(t)
	slow, started := p.dir+"/slow", p.dir+"/started"
	p.write(p.dir+"/reader", fmt.Sprintf("#!/bin/sh\n[ ! -e %s ] || sleep 4\necho >>%s\nexec %s %s \"$@\"\n",
		slow, started, p.bin, strings.Join(p.args("fifo"), " ")), 0o755)
	global := fmt.Sprintf("script_user root\n\tvrrp_notify_fifo %s/notify\n\tvrrp_notify_fifo_script %s/reader", p.dir, p.dir)
	file := p.dir + "/k.conf"
	p.write(file, strings.Replace(p.config(200, ""), "script_user root", global, 1), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(250, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
	p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	k := p.keepalived(p.router, file)
	p.await(`"state": "bound"`, "status", "--json")
	since := sinceLine(p.await(`"state": "MASTER"`, "status", "--json"))
	readers := func() int {
		raw, _ := os.ReadFile(started)
		return strings.Count(string(raw), "\n")
	}
	awaitReaders := func(n int) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); readers() < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d readers were started, want %d", readers(), n)
			}
		}
	}
	p.write(slow, "", 0o644)
	if err := k.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitReaders(2)
	time.Sleep(1500 * time.Millisecond) // for what should not happen
	if now := sinceLine(p.await(`"state": "MASTER"`, "status", "--json")); now != since {
		t.Errorf("the reload has changed the role: since %s, before %s", now, since)
	}

	// Another reload, and before the next reader runs the peer takes over.
	if err := k.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	peer.await(t, "Entering MASTER STATE")
	p.await("role      backup", "status")
	if n := readers(); n != 2 {
		t.Errorf("%d readers were started before the peer took over: that shows nothing", n)
	}
	awaitReaders(3)
	peer.stop()
	p.await("role      primary", "status")
}
