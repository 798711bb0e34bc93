package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/hook"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/lab/nstest"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const (
	wanName = "wan"
	port    = "eth2"
	mac     = "02:68:71:2e:62:67"
)

// world is a router's side of a WAN with a real ISP behind it.
type world struct {
	t        *testing.T
	isp      *nstest.NS
	dir      string
	services *fakeServices
	network  *netif.Manager
	log      *slog.Logger
	seq      int
}

// newWorld connects eth2 with an ISP whose dnsmasq leases 100.64.10.100 to .120, with more
// options of dnsmasq if need be.
func newWorld(t *testing.T, options ...string) *world {
	t.Helper()
	w := newLine(t)
	root := nstest.Image(t)
	w.isp.Daemon(t, root, "dnsmasq", append(options, "--keep-in-foreground", "--log-dhcp", "--log-facility=-", "--user=root",
		"--conf-file=/dev/null", "--pid-file=", "--port=0", "--interface=isp0", "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile=/run/leases",
		"--dhcp-range=100.64.10.100,100.64.10.120,255.255.255.0,3600", "--dhcp-option=3,100.64.10.1")...)
	w.served()
	return w
}

// served waits until the ISP's dnsmasq listens.
func (w *world) served() {
	w.t.Helper()
	w.eventually("dnsmasq serves", 10*time.Second, func() bool {
		var table []byte
		w.isp.Do(w.t, func() (err error) {
			table, err = os.ReadFile("/proc/thread-self/net/udp")
			return err
		})
		return strings.Contains(string(table), ":0043 ") // port 67
	})
}

// newLine is a world without a DHCP server.
func newLine(t *testing.T) *world {
	t.Helper()
	// Registered first, so that it looks when everything else has been cleaned up.
	t.Cleanup(func() { goleak.VerifyNone(t) })
	w := &world{
		t: t, isp: nstest.New(t), dir: t.TempDir(), services: newFakeServices(),
		log: slog.New(slog.NewTextHandler(&testLog{t: t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.isp.Veth(t, port, "isp0")
	w.isp.Do(t, func() error {
		l, err := netlink.LinkByName("isp0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr("100.64.10.1/24")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, a)
	})
	var err error
	if w.network, err = netif.New(w.log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range w.links() {
			_ = netlink.LinkDel(l)
		}
		_ = w.network.Close()
	})
	return w
}

// testLog keeps what is logged, for failed tests, and ignores what comes after
// the end of the test.
type testLog struct {
	t    *testing.T
	mu   sync.Mutex
	over bool
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *world) options() keeper.Options {
	hw, _ := config.Load(w.config())
	return keeper.Options{
		Config: hw, RunDir: rundir.At(w.dir), Version: "test", Log: w.log,
		Network: w.network, Services: w.services, Ready: func() {},
	}
}

func (w *world) config() string {
	path := filepath.Join(w.dir, "wanfail.conf")
	text := fmt.Sprintf("config wanfail\n list service dnsmasq\n list service miniupnpd\nconfig wan %s\n option parent %s\n option macaddr %s\n", wanName, port, mac)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// keeper runs one until stop is called.
func (w *world) keeper(change ...func(*keeper.Options)) (stop func()) {
	w.t.Helper()
	o := w.options()
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	for _, f := range change {
		f(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.New(o).Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		w.t.Fatalf("keeper ended: %v", err)
	case <-time.After(10 * time.Second):
		w.t.Fatal("keeper is not ready after 10 s")
	}
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("keeper: %v", err)
			}
		case <-time.After(10 * time.Second):
			w.t.Error("keeper does not stop")
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// intent is a role request that is newer than all before.
func (w *world) intent(role intent.Role) intent.Intent {
	w.seq++
	return intent.Intent{
		Role: role, State: strings.ToUpper(role.String()), At: time.Now(),
		Token: intent.Token{Ticks: 1000 + uint64(w.seq), PID: 1},
	}
}

func (w *world) hook() hook.Hook {
	return hook.Hook{
		Starter: hook.Starter{RunDir: rundir.At(w.dir)},
		Check:   func() error { return nil },
		Alone: func(ctx context.Context, i intent.Intent, finish bool) control.Answer {
			return keeper.Alone(ctx, w.options(), i, finish)
		},
		Silence: func(ctx context.Context, i intent.Intent) error { return keeper.Silence(ctx, w.options(), i) },
	}
}

// say carries a role request as a hook does.
func (w *world) say(i intent.Intent, wait time.Duration) control.Answer {
	w.t.Helper()
	a, err := w.hook().Say(w.t.Context(), control.OpSettle, i, wait)
	if err != nil {
		w.t.Fatalf("%s: %v", i.Role, err)
	}
	return a
}

// become is say for a request that must be met.
func (w *world) become(role intent.Role) control.Answer {
	w.t.Helper()
	a := w.say(w.intent(role), 10*time.Second)
	if a.Outcome != control.Reached {
		w.t.Fatalf("%s: %+v", role, a)
	}
	return a
}

func (w *world) status() control.Report {
	w.t.Helper()
	conn, err := control.Dial(w.t.Context(), rundir.At(w.dir))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	var r control.Report
	if err := conn.Ask(w.t.Context(), control.Request{Op: control.OpStatus}, &r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) link() netif.Link {
	hw, _ := net.ParseMAC(mac)
	return netif.Link{Name: wanName, Parent: port, MAC: hw}
}

func (w *world) links() (macvlans []netlink.Link) {
	all, err := netlink.LinkList()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range all {
		if l.Type() == "macvlan" {
			macvlans = append(macvlans, l)
		}
	}
	return macvlans
}

// holds reports whether the kernel has the WAN up: link, address, default route.
func (w *world) holds() (link netlink.Link, addr string, ok bool) {
	link, err := netlink.LinkByName(wanName)
	if err != nil {
		return nil, "", false
	}
	addrs, _ := netlink.AddrList(link, netlink.FAMILY_V4)
	if len(addrs) != 1 {
		return link, "", false
	}
	routes, _ := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_OIF)
	isDefault := func(r netlink.Route) bool {
		return r.Gw.String() == "100.64.10.1" && (r.Dst == nil || r.Dst.String() == "0.0.0.0/0")
	}
	return link, addrs[0].IPNet.String(), slices.ContainsFunc(routes, isDefault)
}

// eventually waits until cond holds.
func (w *world) eventually(what string, limit time.Duration, cond func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// fakeServices are services that can be slow, broken, or started by others.
type fakeServices struct {
	mu      sync.Mutex
	running map[string]int // service to its "process id"
	delay   time.Duration
	fail    map[string]error
	pids    int
}

func newFakeServices() *fakeServices {
	return &fakeServices{running: map[string]int{}, fail: map[string]error{}}
}

func (*fakeServices) Backend() string                                 { return "fake" }
func (*fakeServices) Close() error                                    { return nil }
func (*fakeServices) Installed(context.Context, string) (bool, error) { return true, nil }

func (f *fakeServices) State(_ context.Context, name string) (services.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[name] != 0 {
		return services.Running, nil
	}
	return services.Stopped, nil
}

func (f *fakeServices) Start(ctx context.Context, name string) error {
	f.mu.Lock()
	err, delay := f.fail[name], f.delay
	f.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids++
	f.running[name] = f.pids
	return nil
}

func (f *fakeServices) Stop(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, name)
	return nil
}

func (f *fakeServices) pid(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[name]
}

// monitor counts changes of links, addresses and routes until it is asked.
func (w *world) monitor() (changes func() []string) {
	w.t.Helper()
	addrs, links, routes, done := make(chan netlink.AddrUpdate, 64), make(chan netlink.LinkUpdate, 64), make(chan netlink.RouteUpdate, 64), make(chan struct{})
	err := errors.Join(netlink.AddrSubscribe(addrs, done), netlink.LinkSubscribe(links, done), netlink.RouteSubscribe(routes, done))
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case a := <-addrs:
				got = append(got, fmt.Sprintf("address %v new=%v", a.LinkAddress.String(), a.NewAddr))
			case l := <-links:
				got = append(got, fmt.Sprintf("link %v %v", l.Attrs().Name, l.Header.Type))
			case r := <-routes:
				got = append(got, fmt.Sprintf("route %v %v", r.Route, r.Type))
			case <-end:
				return
			}
		}
	})
	return func() []string {
		time.Sleep(50 * time.Millisecond) // netlink delivers asynchronously; there is no event for "nothing"
		close(end)
		wg.Wait()
		close(done)
		return got
	}
}
