package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// TestFailover is the main job, in each way it comes about and on both kinds of
// router: the new master has the same address with the shared MAC, its services
// run, the old one transmits nothing, and the lease was not released.
func TestFailover(t *testing.T) {
	for _, backend := range []lab.Backend{lab.Systemd, lab.Init} {
		for _, sc := range []lab.Scenario{lab.Crash, lab.Stop, lab.Failback} {
			t.Run(string(backend)+"/"+string(sc), func(t *testing.T) {
				w := build(t, 40*time.Second, lab.Options{Backend: backend, Conntrackd: true})
				rep, err := w.l.Run(w.ctx, sc, w.tl, lab.RunOptions{Sessions: 20, Settle: 5 * time.Second, Linger: time.Second})
				w.must(err)
				w.logReport(rep)

				from, to := w.l.Router(0), w.l.Router(1)
				if sc == lab.Failback {
					from, to = to, from
				}
				if rep.Before != rep.After {
					t.Errorf("the WAN's address was %s and is %s", rep.Before, rep.After)
				}
				if rep.Releases != 0 {
					t.Errorf("%d DHCPRELEASE were seen", rep.Releases)
				}
				if n := len(rep.Load.Sessions) - rep.Load.Survived; n > 0 {
					push, echo := rep.Load.Lost()
					t.Errorf("%d pushed and %d echoed sessions are lost", push, echo)
				}
				if rep.Overlap > 0 {
					t.Errorf("both routers transmitted with the shared MAC address for %v", rep.Overlap)
				}
				w.isPrimary(to)
				if sc != lab.Crash {
					w.isBackup(from)
				}
			})
		}
	}
}

// TestByHand is wanfail without keepalived: a person says which router it is.
func TestByHand(t *testing.T) {
	for _, backend := range []lab.Backend{lab.Systemd, lab.Init} {
		t.Run(string(backend), func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{Backend: backend})
			ar0, ar1 := w.l.Router(0), w.l.Router(1)
			w.role(ar0, "primary")
			first := w.isPrimary(ar0)
			w.role(ar0, "backup")
			w.isBackup(ar0)
			w.role(ar1, "primary")
			if second := w.isPrimary(ar1); second != first {
				t.Errorf("the address was %s and is %s", first, second)
			}
			w.role(ar1, "stop")
			w.isBackup(ar1)
			w.role(ar0, "master")
			if third := w.isPrimary(ar0); third != first {
				t.Errorf("the address was %s and is %s", first, third)
			}
			w.role(ar0, "fault")
			w.isBackup(ar0)
			w.noRelease()
		})
	}
}

// TestSameRoleAgain sends no packet, changes nothing in the kernel and leaves
// the services alone.
func TestSameRoleAgain(t *testing.T) {
	w := build(t, 30*time.Second, lab.Options{})
	r := w.l.Router(0)
	w.role(r, "primary")
	w.isPrimary(r)
	link, err := r.Link("wan")
	w.must(err)
	pids := w.servicePIDs(r)
	since := time.Now()
	w.role(r, "primary")
	w.isPrimary(r)
	for _, e := range w.tl.Events(since) {
		if e.Kind == lab.KindDHCP || e.Kind == lab.KindLink || e.Kind == lab.KindAddr || e.Kind == lab.KindRoute || e.Kind == lab.KindService {
			t.Errorf("%s: %s", e.Node, e)
		}
	}
	again, err := r.Link("wan")
	w.must(err)
	if again.Attrs().Index != link.Attrs().Index {
		t.Error("the WAN was made anew")
	}
	if now := w.servicePIDs(r); now != pids {
		t.Errorf("services were %s and are %s", pids, now)
	}
}

// TestLatestWins: after a storm of hooks the router is what the last one said, in
// the order in which keepalived has started them. A shell under keepalived's name
// does here.
func TestLatestWins(t *testing.T) {
	for _, last := range []string{"primary", "backup"} {
		t.Run(last, func(t *testing.T) {
			w := build(t, 40*time.Second, lab.Options{})
			r := w.l.Router(0)
			other := map[string]string{"primary": "backup", "backup": "primary"}[last]
			// The hooks are the shell's own children, as they are keepalived's: a subshell
			// would be a keepalived of its own that ends with its hook.
			storm := "n=0; all=; while [ $n -lt 10 ]; do wanfail " + other + " & all=\"$all $!\"; wanfail " + last + " & all=\"$all $!\"; n=$((n+1)); done; " +
				"for p in $all; do wait $p || echo failed; done"
			p, err := r.Start(w.ctx, "sh", "-c", "cp /bin/sh /run/keepalived; exec /run/keepalived -c '"+storm+"; echo over; sleep 60'")
			w.must(err)
			defer p.Stop(0)
			w.eventually("all hooks have ended", func() (bool, error) { return strings.Contains(p.Output(), "over"), nil })
			if strings.Contains(p.Output(), "failed") {
				t.Errorf("a hook failed:\n%s", p.Output())
			}
			if last == "primary" {
				w.isPrimary(r)
			} else {
				w.isBackup(r)
			}
			w.noRelease()
		})
	}
}

// TestBackupIsSilent: not one frame with the shared MAC address leaves a backup,
// from its boot on.
func TestBackupIsSilent(t *testing.T) {
	w := build(t, 30*time.Second, lab.Options{})
	sent, err := w.l.Router(1).RecordSent()
	w.must(err)
	w.must(w.l.Elect(w.ctx))
	w.isPrimary(w.l.Router(0))
	w.isBackup(w.l.Router(1))
	// A lease of an hour gives a backup no reason to transmit; a second promotion of
	// the other side does, if anything does.
	w.must(w.l.Router(0).StopKeepalived(w.ctx))
	w.isPrimary(w.l.Router(1))
	if n, first, _ := sent.Frames(); n == 0 {
		t.Error("the primary sent nothing: this test captures nothing")
	} else if _, ok := w.tl.First(time.Time{}, func(e lab.Event) bool {
		return lab.Is("ar1", lab.KindHook, "primary")(e) && !e.At.After(first.At)
	}); !ok {
		t.Errorf("a backup said: %s", first)
	}
	silent, err := w.l.Router(0).RecordSent()
	w.must(err)
	w.isBackup(w.l.Router(0))
	if n, first, _ := silent.Frames(); n > 0 {
		t.Errorf("the old master went on, %d frames: %s", n, first)
	}
	w.must(silent.Close())
	w.must(sent.Close())
}

// TestOneAnswer: who asks for the WAN's address is answered once, with the
// shared MAC address, although the parent could answer too.
func TestOneAnswer(t *testing.T) {
	w := build(t, 30*time.Second, lab.Options{})
	r := w.l.Router(0)
	c, err := w.l.Capture(r.WAN(), lab.FilterControl())
	w.must(err)
	w.role(r, "primary")
	addr := w.isPrimary(r)
	_, err = w.l.ISP.Run(w.ctx, "ip", "neigh", "flush", "all")
	w.must(err)
	_, err = w.l.ISP.Run(w.ctx, "ping", "-c1", "-W2", addr.Addr().String())
	w.must(err)
	w.must(c.Close())
	answers := c.Frames(func(f lab.Frame) bool {
		a, ok := f.ARP()
		return ok && f.FromMachine && a.Sender == addr.Addr()
	})
	if len(answers) == 0 {
		t.Fatal("nobody answered")
	}
	for _, f := range answers {
		if a, _ := f.ARP(); a.SenderMAC.String() != lab.SharedMAC().String() || f.Src().String() != lab.SharedMAC().String() {
			t.Errorf("%s (sent by %s)", f, f.Src())
		}
	}
}
