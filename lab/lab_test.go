package lab_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

func TestMain(m *testing.M) {
	lab.Main(func(context.Context) (lab.Inputs, error) {
		return lab.Inputs{Progress: func(f float64, what string) {
			fmt.Fprintf(os.Stderr, "image: %3.0f %% %s\n", f*100, what)
		}}, nil
	}, m.Run)
}

// start builds a lab that ends with the test.
func start(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	o.Log = t.Output()
	l, err := lab.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func limit(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %v", d))
	t.Cleanup(cancel)
	return ctx
}

func TestServersServe(t *testing.T) {
	for _, server := range []lab.Server{lab.Dnsmasq, lab.Kea, lab.ISC, lab.Udhcpd} {
		t.Run(string(server), func(t *testing.T) {
			l := start(t, lab.Options{Scheme: lab.NoScheme, Backend: lab.Init, ISPServer: server})
			r := l.Router(0)
			ctx := limit(t, 20*time.Second)
			out, err := r.Run(ctx, "sh", "-c", "ip link add wan link eth2 address 02:68:71:2e:62:67 type macvlan mode bridge && "+
				"ip link set wan up && udhcpc -f -q -n -i wan -s /etc/udhcpc/default.script")
			if err != nil {
				t.Fatalf("%v\n%s", err, l.ISP.ServerLog())
			}
			addr, ok, err := r.HasWAN()
			if err != nil || !ok || !lab.WANPrefix.Contains(addr.Addr()) {
				t.Errorf("WAN of the router: %v %v %v\n%s", addr, ok, err, out)
			}
			if _, err := r.Run(ctx, "ping", "-c1", "-W2", lab.InternetAddr.String()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestScriptFailsOver(t *testing.T) {
	for _, backend := range []lab.Backend{lab.Systemd, lab.Init} {
		t.Run(string(backend), func(t *testing.T) {
			l := start(t, lab.Options{Scheme: lab.Careful, Backend: backend})
			ctx := limit(t, 30*time.Second)
			for i := range 2 {
				if err := l.Router(i).StartKeepalived(ctx); err != nil {
					t.Fatal(err)
				}
			}
			first := waitWAN(ctx, t, l.Router(0))
			if _, err := l.Client.Run(ctx, "ping", "-c1", "-W2", lab.InternetAddr.String()); err != nil {
				t.Error(err)
			}
			if err := l.Router(0).Crash(); err != nil {
				t.Fatal(err)
			}
			if second := waitWAN(ctx, t, l.Router(1)); second != first {
				t.Errorf("the address was %s, is %s", first, second)
			}
			if _, err := l.Client.Run(ctx, "ping", "-c1", "-W2", lab.InternetAddr.String()); err != nil {
				t.Error(err)
			}
			// It comes back, and takes the role back.
			if err := l.Router(0).Boot(ctx); err != nil {
				t.Fatal(err)
			}
			if err := l.Router(0).StartKeepalived(ctx); err != nil {
				t.Fatal(err)
			}
			waitWAN(ctx, t, l.Router(0))
		})
	}
}

func waitWAN(ctx context.Context, t *testing.T, r *lab.Router) (addr string) {
	t.Helper()
	err := lab.Eventually(ctx, "WAN of "+r.Name, func() (bool, error) {
		a, ok, err := r.HasWAN()
		addr = a.String()
		return ok, err
	})
	if err != nil {
		log, _ := r.Log(context.WithoutCancel(ctx))
		t.Fatalf("%v\n%s", err, log)
	}
	return addr
}

// TestTheScriptFails: the known faults of primary-backup.sh are seen here, so
// what is asserted of wanfail elsewhere can fail.
func TestTheScriptFails(t *testing.T) {
	for _, c := range []struct {
		scenario lab.Scenario
		options  lab.Options
		check    func(*testing.T, *lab.Report)
	}{
		// Nobody calls the script on a stop: two routers with one address.
		{lab.Stop, lab.Options{Scheme: lab.Script}, func(t *testing.T, r *lab.Report) {
			if r.Overlap <= 0 {
				t.Error("the old master was silent")
			}
		}},
		// A router that knows no session answers the server's packets with a reset.
		{lab.Crash, lab.Options{Scheme: lab.Careful}, func(t *testing.T, r *lab.Report) {
			if push, _ := r.Load.Lost(); push != 10 {
				t.Errorf("%d of 10 pushed sessions are lost", push)
			}
			if r.Silence >= 0 || r.Overlap >= 0 {
				t.Errorf("a router without power went on for %v", r.Silence)
			}
			if r.Detection < 2*100*time.Millisecond || r.Outage.Duration() < r.Detection {
				t.Errorf("detected after %v, outage of %v", r.Detection, r.Outage.Duration())
			}
		}},
		// With replication they survive a crash even so.
		{lab.Crash, lab.Options{Scheme: lab.Careful, Conntrackd: true}, func(t *testing.T, r *lab.Report) {
			if r.Load.Survived == 0 {
				t.Error("no session survived")
			}
		}},
	} {
		t.Run(string(c.scenario)+"/"+string(c.options.Scheme), func(t *testing.T) {
			l := start(t, c.options)
			tl, err := l.Timeline()
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Run(limit(t, 40*time.Second), c.scenario, tl, lab.RunOptions{Sessions: 20, Settle: 3 * time.Second, Linger: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tl.Events(r.Trigger) {
				t.Logf("%7.1f ms  %-4s %s", float64(e.At.Sub(r.Trigger).Microseconds())/1000, e.Node, e)
			}
			if r.Before != r.After || r.Releases != 0 {
				t.Errorf("the address was %s, is %s; %d DHCPRELEASE", r.Before, r.After, r.Releases)
			}
			c.check(t, r)
			if err := tl.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCutIsLossOfCarrier(t *testing.T) {
	l := start(t, lab.Options{Scheme: lab.NoScheme, Backend: lab.Init})
	r := l.Router(0)
	carrier := func(want string) {
		t.Helper()
		err := lab.Eventually(limit(t, 5*time.Second), "carrier "+want, func() (bool, error) {
			out, err := r.Run(t.Context(), "cat", "/sys/class/net/eth2/carrier")
			return strings.TrimSpace(out) == want, err
		})
		if err != nil {
			t.Error(err)
		}
	}
	carrier("1")
	if err := l.Cut(r.WAN()); err != nil {
		t.Fatal(err)
	}
	carrier("0")
	if err := l.Plug(r.WAN()); err != nil {
		t.Fatal(err)
	}
	carrier("1")
}
