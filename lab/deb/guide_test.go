package deb

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
	"github.com/wanfail/wanfail/lab/guide"
	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// TestDebianGuide types what docs/debian.md prints, on two routers as Debian's
// installer leaves them, and looks whether the result is what it promises.
func TestDebianGuide(t *testing.T) {
	for _, network := range []string{"ifupdown", "systemd-networkd"} {
		t.Run(network, func(t *testing.T) {
			w := buildBare(t, 180*time.Second)
			for i := range 2 {
				r := w.l.Router(i)
				w.asBought(r)
				w.reboots(r, w.typed(r, "docs/debian.md", "Install", "on a router with "+network)...)
			}
			w.pair("docs/debian.md", "Check")
		})
	}
}

// buildBare is build with routers on which nothing is set up.
func buildBare(t *testing.T, limit time.Duration) *world {
	t.Helper()
	return buildWith(t, limit, lab.Options{Bare: true})
}

// asBought takes off a router what the lab's image has for other tests, and
// brings the package there, as its administrator does.
func (w *world) asBought(r *lab.Router) {
	w.Helper()
	w.run(r, "dpkg", "--purge", "miniupnpd", "miniupnpd-nftables", "systemd-resolved", "network-manager")
	name := fmt.Sprintf("wanfail_%s_%s.deb", older, runtime.GOARCH)
	b, err := os.ReadFile(filepath.Join(sandbox.RepoDir, built, name))
	w.must(err)
	w.must(r.WriteFile("/root/"+name, string(b), 0o644))
}

// typed are the blocks that a person at this router types: those for both, those
// for this one, and those whose first line says what else is true here.
func (w *world) typed(r *lab.Router, file, section string, here ...string) (texts []string) {
	w.Helper()
	blocks, err := guide.In(filepath.Join(sandbox.RepoDir, file), section)
	w.must(err)
	here = append(here, "on "+r.Name)
	for _, b := range blocks {
		mine := b.Where == ""
		for _, fact := range here {
			mine = mine || b.Where == fact || strings.HasPrefix(b.Where, fact+",")
		}
		if mine {
			texts = append(texts, b.Text)
		}
	}
	if len(texts) == 0 {
		w.Fatalf("%s has nothing for %s to type below %q", file, r.Name, section)
	}
	return texts
}

// shell is a person's, which stays open over several blocks; but it ends with the
// first command that fails.
func shell(texts ...string) []string {
	return []string{"-euc", "cd\nPATH=$PATH:/usr/sbin:/sbin\n" + strings.Join(texts, "\n")}
}

// reboots types blocks that end with a reboot.
func (w *world) reboots(r *lab.Router, texts ...string) {
	w.Helper()
	last := strings.TrimSpace(texts[len(texts)-1])
	if !strings.HasSuffix(last, "\nreboot") {
		w.Fatalf("the last block does not reboot: %s", last)
	}
	start := time.Now()
	w.must(r.GoDown(w.ctx, "bash", shell(texts...)...))
	down := time.Now()
	w.must(r.Boot(w.ctx))
	w.Logf("%s: typed and down after %v, booted after %v", r.Name, down.Sub(start).Round(time.Millisecond), time.Since(down).Round(time.Millisecond))
}

// types runs blocks that must succeed.
func (w *world) types(r *lab.Router, texts ...string) string {
	w.Helper()
	return w.run(r, "bash", shell(texts...)...)
}

// pair checks what a document promises of two routers that were set up by it: one
// primary, one backup, doctor content with both, and sessions that survive a
// failover. The blocks of the section come in two kinds: to look, on both, and to
// fail over, on the primary.
func (w *world) pair(file, section string) {
	w.Helper()
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	w.isMaster(ar0)
	for _, r := range []*lab.Router{ar0, ar1} {
		looked := false
		// The last service may still be starting.
		w.eventually("doctor on "+r.Name, func() (bool, error) {
			_, err := r.Run(w.ctx, "wanfail", "status")
			return err == nil, nil
		})
		for _, text := range w.typed(r, file, section) {
			out := w.types(r, text)
			w.Logf("%s:\n%s", r.Name, out)
			looked = looked || strings.Contains(text, "wanfail doctor") && strings.Contains(out, "nothing found")
		}
		if !looked {
			w.Errorf("%s: doctor did not say that it found nothing", r.Name)
		}
	}
	w.standsBy(ar1)
	load, err := w.l.StartLoad(w.ctx, lab.LoadOptions{Sessions: 40})
	w.must(err)
	defer load.Stop()
	mark := load.Mark()
	for _, text := range w.typed(ar0, file, section, "on the primary") {
		if strings.HasPrefix(text, "# on the primary") {
			w.types(ar0, text)
		}
	}
	w.isMaster(ar1)
	w.standsBy(ar0)
	report := load.Settle(w.ctx, mark)
	if push, echo := report.Lost(); push+echo > 0 {
		w.Errorf("the failover ended %d pushed and %d echoed sessions of %d", push, echo, len(report.Sessions))
	}
}

// isMaster and standsBy look at the router, whatever its services are.
func (w *world) isMaster(r *lab.Router) {
	w.Helper()
	w.must(r.WaitWAN(w.ctx))
	w.eventually(r.Name+" serves the LAN", func() (bool, error) { return r.Running(w.ctx, "dnsmasq") })
}

func (w *world) standsBy(r *lab.Router) {
	w.Helper()
	w.eventually(r.Name+" has no WAN and no dnsmasq", func() (bool, error) {
		if link, err := r.Link("wan"); link != nil || err != nil {
			return false, err
		}
		is, err := r.Running(w.ctx, "dnsmasq")
		return !is, err
	})
}
