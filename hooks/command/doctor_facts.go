package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/files"
	needs "github.com/wanfail/wanfail/hooks/fitness"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keepalived"
	"github.com/wanfail/wanfail/netif"
	"github.com/wanfail/wanfail/services"
	runner "github.com/wanfail/wanfail/services/command"
)

// facts gathers them from this computer.
func facts(c *cli.Context) *doctor.Facts {
	f := &doctor.Facts{
		Version: c.App.Version, UID: os.Geteuid(), ConfigPath: c.String("config"), Parents: map[string]netif.Observed{}, ParentErr: map[string]error{},
		Addresses: keepalived.HostAddresses(), Running: keepalived.RunningLinks(),
	}
	f.Config, f.ConfigErr = config.Load(c.String("config"))
	for _, p := range parents(c, f.Config) {
		f.Parents[p.WAN], f.ParentErr[p.WAN] = p.Seen, p.Err
	}
	r, err := ask(c)
	f.Role, f.Keeper = r.Role, err
	for _, v := range r.VRRP {
		if v.Alive && v.State == "FAULT" {
			f.Faults = append(f.Faults, v.Name)
		}
	}
	if intents, states, err := intent.ReadIntents(runDir(c)); err == nil {
		for _, w := range f.Config.WANs {
			i, ok := intents.For(w.Instance)
			if d, disputed := states.Disputed(i, w.Instance, intent.Process.Gone); ok && disputed {
				f.ByHand = append(f.ByHand, doctor.ByHand{WAN: w.Name, Role: d.ByHand.Role, Text: d.Text()})
			}
		}
	}
	if f.UID != 0 {
		return f
	}
	here := doctor.System{Tree: files.Tree{Root: "/"}, Now: time.Now, Run: run}
	here.Gather(c.Context, f)
	askServices(c.Context, f)
	f.Masterless = masterless(c.Context, f)
	return f
}

// askServices asks the service manager.
func askServices(ctx context.Context, f *doctor.Facts) {
	m, err := services.Detect(slog.New(slog.DiscardHandler))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found := needs.Look(ctx, m, needs.Names(f.Conntrackd.Installed && f.Conntrackd.Configured))
	f.Fitness = &found
	if i, ok := m.(services.Inspector); ok {
		if d, err := i.Inspect(ctx, "conntrackd"); err == nil {
			f.Conntrackd.Failure = d.Failure
		}
	}
}

// askedVIP is what became of an ARP request.
type askedVIP struct {
	vip keepalived.VIP
	err error // nil: somebody answered
}

// askVIPs asks the LAN for all virtual addresses that are not here.
func askVIPs(ctx context.Context, f *doctor.Facts) (all []askedVIP) {
	if f.Keepalived == nil {
		return nil
	}
	n, err := netif.New(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil
	}
	defer n.Close()
	for _, i := range f.Keepalived.Instances {
		for _, v := range i.Askable(f.Addresses) {
			if f.Addresses.Have(v.Address) {
				continue
			}
			limit, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			_, err := n.ProbeGateway(limit, v.Device, v.Source, v.Address)
			cancel()
			all = append(all, askedVIP{v, err})
		}
	}
	return all
}

// masterless are the virtual addresses for which nobody answers, and those that a
// keepalived which was killed has left here.
func masterless(ctx context.Context, f *doctor.Facts) (all []keepalived.VIP) {
	if f.Keepalived != nil && f.Fitness != nil && f.Fitness.Process.PID == 0 {
		for _, i := range f.Keepalived.Instances {
			for _, v := range i.Askable(f.Addresses) {
				if f.Addresses.Have(v.Address) {
					all = append(all, v)
				}
			}
		}
	}
	for _, a := range askVIPs(ctx, f) {
		if errors.Is(a.err, context.DeadlineExceeded) {
			all = append(all, a.vip)
		}
	}
	return all
}

// programs are where programs are found: the caller's PATH may name directories of
// anybody, and doctor runs as root.
var programs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// A program that only reports something may take so long, and print so much.
const (
	runLimit = 5 * time.Second
	runBytes = 16 << 20
)

// run runs a program with an environment of its own and returns what it printed.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	for _, dir := range programs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		out, err := runner.Command{
			Path: path, Args: args, Env: []string{"LC_ALL=C", "PATH=" + strings.Join(programs, ":")}, Output: runBytes,
		}.Run(ctx)
		return []byte(out), err
	}
	return nil, fmt.Errorf("%s: %w in %s", name, exec.ErrNotFound, strings.Join(programs, ", "))
}
