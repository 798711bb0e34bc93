package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
)

// listener is a Publisher that passes on its calls.
type listener struct {
	heard chan string // "publish 100.64.10.100/24" or "withdraw"
	deaf  chan struct{}
}

func newListener() *listener { return &listener{make(chan string, 64), make(chan struct{}, 64)} }

func (l *listener) String() string { return "listener" }

func (l *listener) say(what string) (err error) {
	select {
	case <-l.deaf:
		err = errors.New("did not listen")
	default:
	}
	l.heard <- what // the receiver may make the next call fail, not this one
	return err
}

func (l *listener) Publish(_ context.Context, wan config.WAN, lease *dhcp.Lease) error {
	return l.say(fmt.Sprintf("publish %s %s", wan.Name, lease.Prefix))
}

func (l *listener) Withdraw(_ context.Context, wan config.WAN) error {
	return l.say("withdraw " + wan.Name)
}

func (l *listener) wants(t *testing.T, what string) {
	t.Helper()
	select {
	case got := <-l.heard:
		if got != what {
			t.Fatalf("heard %q, want %q", got, what)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("has not heard %q", what)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	l := newListener()
	w.keeper(func(o *keeper.Options) { o.Publishers = []keeper.Publisher{l} })
	l.wants(t, "withdraw wan") // an earlier keeper may have died as a primary
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	publish := "publish wan " + addr
	l.wants(t, publish)
	// A publisher that uses the index of the link has to be called for the new one.
	l.deaf <- struct{}{}
	l.deaf <- struct{}{}
	if err := netlink.LinkDel(w.links()[0]); err != nil {
		t.Fatal(err)
	}
	for range 3 { // it did not listen twice
		l.wants(t, publish)
	}
	l.deaf <- struct{}{}
	w.become(intent.Backup)
	l.wants(t, "withdraw wan")
	l.wants(t, "withdraw wan")
	select {
	case got := <-l.heard:
		t.Errorf("heard %q once more", got)
	case <-time.After(300 * time.Millisecond): // the first retry comes after 100 ms
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	l := newListener()
	o := w.options()
	o.Publishers = []keeper.Publisher{l}
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	k := keeper.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-ready
	l.wants(t, "withdraw wan")
	k.Refresh()
	l.wants(t, "withdraw wan")
	w.become(intent.Primary)
	_, addr, _ := w.holds()
	l.wants(t, "publish wan "+addr)
	changes := w.monitor()
	k.Refresh()
	l.wants(t, "publish wan "+addr)
	if got := changes(); len(got) > 0 {
		t.Errorf("the kernel was changed: %v", got)
	}
}

func TestAloneWithdraws(t *testing.T) {
	w := newLine(t)
	l := newListener()
	o := w.options()
	o.Publishers = []keeper.Publisher{l}
	if a := keeper.Alone(t.Context(), o, w.intent(intent.Backup), true); a.Outcome != control.Reached {
		t.Errorf("%+v", a)
	}
	l.wants(t, "withdraw wan")
	l.deaf <- struct{}{}
	if a := keeper.Alone(t.Context(), o, w.intent(intent.Backup), true); a.Outcome != control.Degraded || !slices.Contains(a.Problems, "did not listen") {
		t.Errorf("%+v", a)
	}
}

// book is where a Resolver's names are written down.
type book map[string]string

func (b book) Set(_ context.Context, link string, servers []netip.Addr, search []string) (string, error) {
	b[link] = fmt.Sprint(servers, search)
	return "book", nil
}

func (b book) Revert(_ context.Context, link string) error {
	delete(b, link)
	return nil
}

func TestResolver(t *testing.T) {
	names := book{}
	r := keeper.Resolver{Names: names}
	lease := &dhcp.Lease{
		DNS:    []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
		Domain: "isp.example", Search: []string{"b.example", "isp.example"},
	}
	for _, step := range []struct {
		name string
		do   func(config.WAN) error
		dns  bool
		want string
	}{
		{"publish", func(wan config.WAN) error { return r.Publish(t.Context(), wan, lease) }, true, "[192.0.2.53 192.0.2.54] [isp.example b.example]"},
		{"publish without peerdns", func(wan config.WAN) error { return r.Publish(t.Context(), wan, lease) }, false, ""},
		{"publish again", func(wan config.WAN) error { return r.Publish(t.Context(), wan, lease) }, true, "[192.0.2.53 192.0.2.54] [isp.example b.example]"},
		{"withdraw", func(wan config.WAN) error { return r.Withdraw(t.Context(), wan) }, true, ""},
	} {
		if err := step.do(config.WAN{Name: "wan", PeerDNS: step.dns}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(names["wan"]); got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}
