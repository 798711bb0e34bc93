package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// shipped gives both routers an example of packaging/keepalived, with the lab's
// addresses and without the delays that a test would wait for. change lists
// further replacements, old and new.
func (w *world) shipped(name string, change ...string) {
	w.Helper()
	raw, err := os.ReadFile(filepath.Join(sandbox.RepoDir, "packaging/keepalived", name))
	w.must(err)
	for i := range 2 {
		r := w.l.Router(i)
		text := string(raw)
		all := append([]string{
			"router_id ar0 ", "router_id " + r.Name + " ",
			"priority 250", fmt.Sprintf("priority %d", 250-30*i),
			"192.168.10.1/24", lab.VIP.String(),
			"    preempt_delay 30\n", "",
		}, change...)
		for at := 0; at < len(all); at += 2 {
			if strings.Count(text, all[at]) != 1 {
				w.Fatalf("%s has not one %q", name, all[at])
			}
			text = strings.Replace(text, all[at], all[at+1], 1)
		}
		w.must(r.WriteFile("/etc/keepalived/keepalived.conf", text, 0o644))
	}
}

// pair makes ar0 master and ar1 its backup.
func (w *world) pair() (ar0, ar1 *lab.Router) {
	w.Helper()
	ar0, ar1 = w.l.Router(0), w.l.Router(1)
	w.must(ar0.StartKeepalived(w.ctx))
	w.becomesPrimary(ar0)
	w.must(ar1.StartKeepalived(w.ctx))
	w.told(ar1, "BACKUP")
	w.eventually(ar1.Name+" could take over", func() (bool, error) {
		out, code := w.code(ar1, "wanfail", "check") // asks the keeper, which the hook has started where systemd has not
		return code == 0 && strings.Contains(out, "backup"), nil
	})
	w.settles(ar1, "backup")
	w.isBackup(ar1)
	return ar0, ar1
}

// becomesPrimary is isPrimary where no hook was waited for.
func (w *world) becomesPrimary(r *lab.Router) netip.Prefix {
	w.Helper()
	w.settles(r, "primary")
	return w.isPrimary(r)
}

// settles waits until the keeper says that the services follow the role.
func (w *world) settles(r *lab.Router, role string) {
	w.Helper()
	w.eventually(r.Name+" says that it and its services are "+role, func() (bool, error) {
		s, err := r.Status(w.ctx)
		done := s.Role == role && len(s.Services) == len(w.l.Options().Services)
		for _, service := range s.Services {
			done = done && !service.Pending && service.Running == (role == "primary")
		}
		return done, err
	})
}

// moves matches what tells that the role of the LAN moves.
func moves(e lab.Event) bool {
	return e.Kind == lab.KindVRRP || e.Kind == lab.KindVIP || e.Kind == lab.KindHook ||
		e.Kind == lab.KindService || e.Kind == lab.KindAddr || e.Kind == lab.KindLink
}

// stays checks that nothing has moved since, nor does for another d.
func (w *world) stays(since time.Time, d time.Duration) {
	w.Helper()
	enough := errors.New("it stays")
	ctx, cancel := context.WithTimeoutCause(w.ctx, d, enough)
	defer cancel()
	if e, err := w.tl.Wait(ctx, since, moves); err == nil {
		w.Errorf("%s, %v after the trigger: %s", e.Node, e.At.Sub(since), e)
	} else if !errors.Is(err, enough) {
		w.Fatal(err)
	}
}

// sessions starts TCP sessions through the pair; the function that is returned
// checks that each lives on, with data later than after.
func (w *world) sessions() (live func(after time.Time)) {
	w.Helper()
	load, err := w.l.StartLoad(w.ctx, lab.LoadOptions{Sessions: 10})
	w.must(err)
	w.Cleanup(load.Stop)
	load.Mark()
	return func(after time.Time) {
		w.Helper()
		ctx, cancel := context.WithTimeout(w.ctx, 8*time.Second)
		defer cancel()
		rep := load.Settle(ctx, after)
		push, echo := rep.Lost()
		if push+echo > 0 {
			w.Errorf("%d pushed and %d echoed of %d sessions are lost", push, echo, len(rep.Sessions))
		}
		w.Logf("%d sessions live, the longest gap was %v", rep.Survived, ms(rep.Max))
	}
}

// TestCheckFailedISP: a line that fails behind the port, for both routers alike,
// shows in the master's adverts and takes nothing away from the LAN.
func TestCheckFailedISP(t *testing.T) {
	w := build(t, 60*time.Second, lab.Options{WANOptions: []string{"option arp_interval '1'"}})
	// Twice as fast; the weights are what matters.
	w.shipped("keepalived-check.conf", "interval 2\n", "interval 1\n")
	ar0, ar1 := w.pair()
	w.eventually("a line that works", func() (bool, error) {
		out, err := ar0.Run(w.ctx, "wanfail", "check")
		return strings.Contains(out, "gateway answers"), err
	})
	adverts, err := w.l.Capture(ar0.LAN(), lab.FilterControl())
	w.must(err)
	advertised := func(since time.Time, priority int) time.Time {
		t.Helper()
		f, err := adverts.Wait(w.ctx, func(f lab.Frame) bool {
			a, ok := f.Advert()
			return ok && f.At.After(since) && a.From == ar0.Address() && a.Priority == priority
		})
		if err != nil {
			t.Fatalf("no advert with priority %d: %v", priority, err)
		}
		return f.At
	}
	since := time.Now()
	advertised(since, 250)
	backup, err := ar1.RecordSent()
	w.must(err)

	w.l.ISP.StopServer()
	_, err = w.l.ISP.Run(w.ctx, "ip", "link", "set", "eth0", "down") // behind the switch: the routers keep their carrier
	w.must(err)
	t.Logf("the adverts tell of the dead line after %v", ms(advertised(since, 230).Sub(since)))
	w.stays(since, 4*time.Second)
	for _, c := range []struct {
		r    *lab.Router
		code int
		says string
	}{{ar0, 1, "gateway " + lab.Gateway.String() + " does not answer"}, {ar1, 0, "backup, could be primary"}} {
		out, code := w.code(c.r, "wanfail", "check")
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("check on %s: exit %d, %q; want %d, %q", c.r.Name, code, out, c.code, c.says)
		}
		if out, code := w.code(c.r, "wanfail", "check", "--local"); code != 0 {
			t.Errorf("check --local on %s: exit %d, %q", c.r.Name, code, out)
		}
	}

	_, err = w.l.ISP.Run(w.ctx, "ip", "link", "set", "eth0", "up")
	w.must(err)
	w.must(w.l.ISP.StartServer(w.ctx, lab.Dnsmasq))
	advertised(time.Now(), 250)
	w.stays(since, 0)
	w.isPrimary(ar0)
	w.isBackup(ar1)
	if n, f, _ := backup.Frames(); n > 0 {
		t.Errorf("checks made a backup transmit on the WAN: %s", f)
	}
	for _, f := range adverts.Frames(func(lab.Frame) bool { return true }) {
		if a, ok := f.Advert(); ok && a.From != ar0.Address() {
			t.Errorf("%s sent an advert", a.From)
			break
		}
	}
	w.must(errors.Join(adverts.Close(), backup.Close()))
}

// TestCheckCable: a master whose WAN cable is pulled is unfit by itself. The peer
// takes over, with the address and the sessions.
func TestCheckCable(t *testing.T) {
	for name, change := range map[string][]string{
		"shipped":     nil,
		"script only": {"    track_interface {\n        eth2\n    }\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, 60*time.Second, lab.Options{Conntrackd: true})
			w.shipped("keepalived-check.conf", change...)
			ar0, ar1 := w.pair()
			before, _, err := ar0.HasWAN()
			w.must(err)
			live := w.sessions()

			since := time.Now()
			w.must(w.l.Cut(ar0.WAN()))
			route, err := w.tl.Wait(w.ctx, since, lab.Is(ar1.Name, lab.KindRoute, lab.Gateway.String()))
			w.must(err)
			t.Logf("%s has the WAN %v after the cut", ar1.Name, ms(route.At.Sub(since)))
			live(route.At)
			if after := w.becomesPrimary(ar1); after != before {
				t.Errorf("the address was %s and is %s", before, after)
			}
			w.becomesBackup(ar0)
			if out, code := w.code(ar0, "wanfail", "check", "--local"); code != 1 || !strings.Contains(out, "no carrier") {
				t.Errorf("check --local without a cable: exit %d, %q", code, out)
			}
			// No cable, no role: it is not given to and fro.
			w.stays(time.Now(), time.Second)

			plugged := time.Now()
			w.must(w.l.Plug(ar0.WAN()))
			back := w.hookStart(ar0, plugged, "primary")
			if again := w.becomesPrimary(ar0); again != before {
				t.Errorf("the address was %s and is %s", before, again)
			}
			live(back)
			w.noRelease()
			if log := w.out(ar0, "journalctl", "--no-pager", "-t", "wanfail"); strings.Contains(log, "behind wanfail's back") {
				t.Errorf("nobody changed anything, but the log says so:\n%s", log)
			}
		})
	}
}

// code runs a command whose failure may be what is wanted.
func (w *world) code(r *lab.Router, name string, arg ...string) (out string, code int) {
	w.Helper()
	out, err := r.Run(w.ctx, name, arg...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, exit.ExitCode()
	}
	w.must(err)
	return out, 0
}
