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

// TestDebianGuideOptions: systemd-resolved and miniupnpd, whose Debian packages do
// what the guide has to undo.
func TestDebianGuideOptions(t *testing.T) {
	const file = "docs/debian.md"
	w := buildBare(t, 90*time.Second)
	r := w.l.Router(0)
	w.asBought(r, "network-manager")
	w.run(r, "systemctl", "enable", "systemd-resolved", "miniupnpd")
	w.run(r, "ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
	texts := w.typed(r, file, "Install", "on a router with ifupdown")
	last := len(texts) - 1
	more := append(w.typed(r, file, "DNS", "on a router with systemd-resolved"), w.typed(r, file, "UPnP", "on a router with miniupnpd")...)
	w.reboots(r, append(append(texts[:last:last], more...), texts[last])...)
	w.isMaster(r)
	w.eventually("dnsmasq resolves", func() (bool, error) {
		return strings.Contains(w.says(r, "busybox", "nslookup", someName, w.l.VIP().String()), lab.InternetAddr.String()), nil
	})
	w.eventually("miniupnpd runs", func() (bool, error) { return r.Running(w.ctx, "miniupnpd") })
	if got := w.run(r, "wanfail", "status", "--json"); strings.Contains(got, `"error"`) {
		t.Errorf("status: %s", got)
	}
	w.must(r.StopKeepalived(w.ctx))
	w.standsBy(r)
	w.eventually("miniupnpd is stopped", func() (bool, error) {
		is, err := r.Running(w.ctx, "miniupnpd")
		return !is, err
	})
	if got := w.run(r, "nft", "list", "ruleset"); !strings.Contains(got, "policy drop") || !strings.Contains(got, "masquerade") {
		t.Errorf("after miniupnpd's stop the firewall is %s", got)
	}
}

// TestReadme does the same with the five minutes of README.md.
func TestReadme(t *testing.T) {
	w := buildBare(t, 120*time.Second)
	for i := range 2 {
		r := w.l.Router(i)
		w.asBought(r)
		w.reboots(r, w.typed(r, "README.md", "Debian in five minutes")...)
	}
	w.pair("docs/debian.md", "Check")
}

// TestMigration types what docs/debian.md prints for a pair that runs
// primary-backup.sh as the tutorials have it: VRRP version 2, a stop that leaves
// the WAN up. The two must never be primary at once.
func TestMigration(t *testing.T) {
	const file, section = "docs/debian.md", "Migrating from primary-backup.sh"
	w := buildWith(t, 150*time.Second, lab.Options{Scheme: lab.Script, Conntrackd: true, Services: []string{"dnsmasq"}})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	for i, r := range []*lab.Router{ar0, ar1} {
		w.asBought(r)
		conf, err := r.ReadFile("/etc/keepalived/keepalived.conf")
		w.must(err)
		old := strings.NewReplacer("vrrp_version 3", "vrrp_version 2", "advert_int 0.10", "advert_int 1",
			fmt.Sprintf("priority %d", 250-30*i), fmt.Sprintf("priority %d", 150-50*i)).Replace(conf)
		if strings.Count(old, "vrrp_version 2")+strings.Count(old, "advert_int 1\n")+strings.Count(old, fmt.Sprintf("priority %d\n", 150-50*i)) != 3 {
			t.Fatalf("this is not an old configuration: %s", old)
		}
		w.must(r.WriteFile("/etc/keepalived/keepalived.conf", old, 0o644))
		w.run(r, "systemctl", "enable", "keepalived")
		w.must(r.StartKeepalived(w.ctx))
	}
	w.isMaster(ar0)
	both := w.typed(ar0, file, section)
	for _, r := range []*lab.Router{ar0, ar1} {
		w.types(r, both...)
	}
	w.isMaster(ar0)

	convert := w.typed(ar1, file, section, "on the backup")
	convert = convert[len(both):]
	change := w.typed(ar0, file, section, "on the primary")
	change = change[len(both):]
	if len(convert) != 2 || len(change) != 1 {
		t.Fatalf("the section has changed: %q, %q", convert, change)
	}
	w.types(ar1, convert[0])
	w.standsBy(ar1)
	addr, _, err := ar0.HasWAN()
	w.must(err)
	w.handoverUntil(ar0, ar1, func() { w.types(ar0, change...) }, func() { w.isMaster(ar1) })
	if got, _, err := ar1.HasWAN(); err != nil || got != addr {
		t.Errorf("the address was %s and is %s (%v)", addr, got, err)
	}
	if link, err := ar0.Link("wan"); link != nil || err != nil {
		t.Errorf("the old router still has %v (%v)", link, err)
	}
	// The other one: it is the better one, and takes the role back.
	w.handoverUntil(ar1, ar0, func() { w.types(ar0, convert[0]) }, func() { w.isMaster(ar0) })
	w.standsBy(ar1)

	// VRRP as the examples have it.
	w.types(ar1, convert[1])
	ninth := func(r *lab.Router, variables string) {
		for _, text := range w.typed(r, file, "Install") {
			if strings.Contains(text, "/etc/keepalived/keepalived.conf") {
				w.types(r, variables, "examples=/usr/share/doc/wanfail/examples", text)
				w.run(r, "sed", "-i", "s/192.168.10./192.168.77./", "/etc/keepalived/keepalived.conf") // this LAN's
			}
		}
	}
	ninth(ar0, "name=ar0 priority=250")
	ninth(ar1, "name=ar1 priority=220")
	w.run(ar0, "systemctl", "restart", "keepalived")
	w.isMaster(ar0)
	w.run(ar1, "systemctl", "start", "keepalived")
	w.standsBy(ar1)
}

// buildBare is build with routers on which nothing is set up.
func buildBare(t *testing.T, limit time.Duration) *world {
	t.Helper()
	return buildWith(t, limit, lab.Options{Bare: true})
}

// asBought takes off a router what the lab's image has for other tests, unless
// told what, and brings the package there, as its administrator does.
func (w *world) asBought(r *lab.Router, purge ...string) {
	w.Helper()
	if len(purge) == 0 {
		purge = []string{"miniupnpd", "miniupnpd-nftables", "systemd-resolved", "network-manager"}
	}
	// The image leaves out documentation, and with it the examples of a package.
	w.must(r.WriteFile("/etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\n", 0o644))
	w.run(r, "dpkg", append([]string{"--purge"}, purge...)...)
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
