package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wanfail/wanfail/hooks/keeper/router"
	"github.com/wanfail/wanfail/services"
)

// switchedOff is a manager whose dnsmasq runs and whose other services have nothing
// to run.
type switchedOff struct{}

func (switchedOff) Backend() string                                 { return "fake" }
func (switchedOff) Close() error                                    { return nil }
func (switchedOff) Installed(context.Context, string) (bool, error) { return true, nil }
func (switchedOff) Stop(context.Context, string) error              { return nil }

func (switchedOff) State(_ context.Context, name string) (services.State, error) {
	if name == "dnsmasq" {
		return services.Running, nil
	}
	return services.Stopped, nil
}

func (switchedOff) Start(_ context.Context, name string) error {
	return fmt.Errorf("/etc/init.d/%s start: %w", name, services.ErrOff)
}

// A default service that is installed and switched off in its own configuration,
// as OpenWrt's miniupnpd is at first, makes no primary degraded. One that the
// user has named is missed.
func TestServiceThatIsOff(t *testing.T) {
	for _, named := range []bool{false, true} {
		reached := make(chan router.Served, 8)
		d := newDaemons(switchedOff{}, []string{"dnsmasq", "miniupnpd"}, named, slog.New(slog.DiscardHandler), func(s router.Served) { reached <- s })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.run(ctx) }()
		d.order(router.Serve{Epoch: 1, Up: true})
		s := <-reached
		cancel()
		<-ended
		want := 0
		if named {
			want = 1
		}
		if len(s.Problems) != want || len(s.Services) != 1+want || s.Services[0].Name != "dnsmasq" || !s.Services[0].Running {
			t.Errorf("named %v: problems %q, services %+v", named, s.Problems, s.Services)
		}
	}
}

// absent is a manager that knows no service.
type absent struct{ switchedOff }

func (absent) State(_ context.Context, name string) (services.State, error) {
	return services.Stopped, fmt.Errorf("%s is %w", name, services.ErrNotInstalled)
}

// A service that is not installed does not run, whatever the role is.
func TestServiceThatIsNotInstalled(t *testing.T) {
	for _, up := range []bool{false, true} {
		reached := make(chan router.Served, 8)
		d := newDaemons(absent{}, []string{"dnsmasq"}, true, slog.New(slog.DiscardHandler), func(s router.Served) { reached <- s })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.run(ctx) }()
		d.order(router.Serve{Epoch: 1, Up: up})
		s := <-reached
		cancel()
		<-ended
		if len(s.Services) != 1 || s.Services[0].Running || s.Services[0].Error != "dnsmasq is not installed" || len(s.Problems) != 1 {
			t.Errorf("up %v: services %+v, problems %q", up, s.Services, s.Problems)
		}
	}
}

// sleepy is a manager whose miniupnpd takes very long to start.
type sleepy struct{ switchedOff }

func (sleepy) Start(ctx context.Context, _ string) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// A default service that does not come up makes a change of role last 5 s, not 30.
// One that the user has named is waited for.
func TestServiceThatDoesNotComeUp(t *testing.T) {
	for _, named := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			reached := make(chan router.Served, 8)
			d := newDaemons(sleepy{}, []string{"dnsmasq", "miniupnpd"}, named, slog.New(slog.DiscardHandler), func(s router.Served) { reached <- s })
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); d.run(ctx) }()
			start := time.Now()
			d.order(router.Serve{Epoch: 1, Up: true})
			next := func(after time.Duration, problem string) {
				t.Helper()
				s := <-reached
				if took := time.Since(start); took != after {
					t.Errorf("named %v: after %v, want %v", named, took, after)
				}
				if !s.Settled || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], problem) || len(s.Services) != 2 || !s.Services[0].Running {
					t.Errorf("named %v: %+v", named, s)
				}
			}
			if !named {
				next(defaultsLimit, "start miniupnpd: not done after 5s")
			}
			next(serviceLimit, "not running within 30s")
			cancel()
			<-ended
		})
	}
}
