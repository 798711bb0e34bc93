package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// Binary is what a build weighs.
type Binary struct {
	Arch, Tags string
	Bytes      int64
}

// CostResult is what wanfail takes of a router.
type CostResult struct {
	Binaries []Binary
	// Version is the time of `wanfail --version` to its end, True of /bin/true.
	Version, True Series
	// Poke is from the making of the hook's process to the keeper's beginning.
	Poke Series
	// Of a hook, of the keeper as backup and as primary, in kB.
	HookRSS                 int
	BackupRSS, BackupAnon   int
	PrimaryRSS, PrimaryAnon int
	// CPU time of the keeper in a minute.
	Idle, Traffic time.Duration
}

// envPrepared carries what Prepare found to the inside of the lab.
const envPrepared = "WANFAIL_BENCH_PREPARED"

// prepared is what only the computer itself can tell.
type prepared struct {
	Go, Version string
	Binaries    []Binary
}

// Prepare builds wanfail for each architecture as the packages do; it runs outside
// of the lab. root is the checkout, binary the wanfail that will be measured.
func Prepare(ctx context.Context, o Options, root, binary string) error {
	var p prepared
	if out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output(); err == nil {
		p.Go = strings.TrimSpace(string(out))
	}
	if out, err := exec.CommandContext(ctx, binary, "--version").Output(); err == nil {
		p.Version = strings.TrimSpace(string(out))
	}
	if o.wants("cost") {
		dir, err := os.MkdirTemp("", "wanfail-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		for _, b := range []struct{ arch, tags, pkg string }{
			{"amd64", "", "deb-amd64"},
			{"arm64", "", "deb-arm64"},
			{"armv7", "", "deb-armhf"},
			{"mips", "nosystemd", "openwrt-mips_24kc"},
			{"mipsle", "nosystemd", "openwrt-mipsel_24kc"},
		} {
			if o.Quick && b.arch != "amd64" {
				continue
			}
			out := filepath.Join(dir, b.pkg, "wanfail")
			build := exec.CommandContext(ctx, "make", "-s", "PACKAGES_DIR="+dir, out)
			build.Dir = root
			if text, err := build.CombinedOutput(); err != nil {
				return fmt.Errorf("build for %s: %w\n%s", b.arch, err, text)
			}
			info, err := os.Stat(out)
			if err != nil {
				return err
			}
			p.Binaries = append(p.Binaries, Binary{Arch: b.arch, Tags: b.tags, Bytes: info.Size()})
			o.tell("built for %s", b.arch)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.Setenv(envPrepared, string(text))
}

func measureCost(ctx context.Context, o Options) (c *CostResult, err error) {
	l, err := lab.New(ctx, lab.Options{Services: []string{"none"}, Conntrackd: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r := l.Router(0)
	rounds, while := 40, 20*time.Second
	if o.Quick {
		rounds, while = 10, 3*time.Second
	}
	c = &CostResult{}
	for range rounds {
		for series, command := range map[*Series][]string{&c.Version: {"wanfail", "--version"}, &c.True: {"/bin/true"}} {
			p, err := r.Start(ctx, command[0], command[1:]...)
			if err != nil {
				return nil, err
			}
			if err := p.Wait(); err != nil {
				return nil, err
			}
			series.add(time.Since(p.Started))
		}
	}
	if c.BackupRSS, c.BackupAnon, err = keeperMemory(ctx, r); err != nil {
		return nil, err
	}
	for range rounds / 2 {
		for _, role := range []string{"primary", "backup"} {
			if err := c.poke(ctx, r, role); err != nil {
				return nil, err
			}
		}
	}
	// The sessions pass a router that became primary as any other does.
	for i := range 2 {
		if err := l.Router(i).StartKeepalived(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.WaitWAN(ctx); err != nil {
		return nil, err
	}
	if c.HookRSS, err = hookMemory(ctx, r); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settled); err != nil {
		return nil, err
	}
	if c.Idle, err = keeperIdle(ctx, r, while); err != nil {
		return nil, err
	}
	load, err := l.StartLoad(ctx, lab.LoadOptions{Sessions: 200})
	if err != nil {
		return nil, err
	}
	defer load.Stop()
	if c.Traffic, err = keeperIdle(ctx, r, while); err != nil {
		return nil, err
	}
	c.PrimaryRSS, c.PrimaryAnon, err = keeperMemory(ctx, r)
	return c, err
}

// poke compares the hook's beginning with the keeper's account of its own.
func (c *CostResult) poke(ctx context.Context, r *lab.Router, role string) error {
	p, err := r.Start(ctx, "wanfail", role)
	if err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("hook: %w: %s", err, p.Output())
	}
	out, err := r.Run(ctx, "wanfail", "status", "--json")
	if err != nil {
		return err
	}
	var status struct {
		Transitions []struct {
			At   time.Time `json:"at"`
			Role string    `json:"role"`
		} `json:"transitions"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("decode status: %w", err)
	}
	n := len(status.Transitions)
	if n == 0 || status.Transitions[n-1].Role != role || status.Transitions[n-1].At.Before(p.Started) {
		return fmt.Errorf("the keeper has not noted the change to %s", role)
	}
	c.Poke.add(status.Transitions[n-1].At.Sub(p.Started))
	return nil
}

// hookMemory is the most that a hook holds, in kB. The kernel keeps the mark as
// long as the process lives; what rusage says would include the lab's own
// memory, from before exec.
func hookMemory(ctx context.Context, r *lab.Router) (most int, err error) {
	p, err := r.Start(ctx, "wanfail", "backup")
	if err != nil {
		return 0, err
	}
	for {
		select {
		case <-p.Done():
			if err = p.Wait(); err == nil && most == 0 {
				err = errors.New("the hook ended unseen")
			}
			return most, err
		default:
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				_, _ = fmt.Sscan(value, &most)
			}
		}
	}
}
