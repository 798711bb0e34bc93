package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// TestAnnouncements: who becomes primary says so, four times in a second, and asks
// the gateway; the switch has learned where the shared MAC address is now before
// the hook has returned.
func TestAnnouncements(t *testing.T) {
	w := build(t, 30*time.Second, lab.Options{})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	w.role(ar0, "primary")
	w.isPrimary(ar0)
	if at := w.switchPort(); at != ar0.WAN() {
		t.Fatalf("the shared MAC address is behind %s, want %s", at, ar0.WAN())
	}
	w.role(ar0, "backup")
	c, err := w.l.Capture(ar1.WAN(), lab.FilterControl())
	w.must(err)
	since := time.Now()
	w.role(ar1, "primary")
	if at := w.switchPort(); at != ar1.WAN() {
		t.Errorf("the switch still sends to %s", at)
	}
	addr := w.isPrimary(ar1).Addr()
	up, err := w.tl.Wait(w.ctx, since, lab.Is(ar1.Name, lab.KindAddr, ""))
	w.must(err)

	burst := func() (at []time.Duration) {
		for _, e := range w.tl.Events(since) {
			if lab.Is(ar1.Name, lab.KindARP, addr.String())(e) {
				at = append(at, e.At.Sub(up.At))
			}
		}
		return at
	}
	// Each announcement is a request and a reply: neighbours differ in what they
	// listen to.
	w.eventually("four announcements", func() (bool, error) { return len(burst()) >= 8, nil })
	for i, want := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
		const late = 50 * time.Millisecond // a busy computer
		if got := burst()[2*i]; got < want-5*time.Millisecond || got > want+late {
			t.Errorf("announcement %d came %v after the address, want %v", i+1, got, want)
		}
	}
	w.must(c.Close())
	asked := c.Frames(func(f lab.Frame) bool {
		a, ok := f.ARP()
		return ok && f.FromMachine && !a.Reply && a.Sender == addr && a.Target == lab.Gateway
	})
	if len(asked) == 0 {
		t.Error("the gateway was not asked")
	} else if late := asked[0].At.Sub(up.At); late > 50*time.Millisecond {
		t.Errorf("the gateway was asked %v after the address", late)
	}
}

// TestTakeoverByMistake: no advert passes between the routers for a while, ar1
// takes over and gives way when adverts arrive again. ar0 was master all the
// time, and receives a lower advert: it shows the ISP's switch where the MAC address
// is.
func TestTakeoverByMistake(t *testing.T) {
	for _, channel := range []string{"hooks", "fifo"} {
		t.Run(channel, func(t *testing.T) {
			w := build(t, 90*time.Second, lab.Options{})
			ar0, ar1 := w.l.Router(0), w.l.Router(1)
			if channel == "fifo" {
				for _, r := range []*lab.Router{ar0, ar1} {
					w.keepalivedConf(r, func(s string) string {
						return strings.Replace(withoutHooks(s), "script_user root",
							"script_user root\n    vrrp_notify_fifo /run/wanfail.fifo\n    vrrp_notify_fifo_script \"/usr/sbin/wanfail fifo\"", 1)
					})
				}
			}
			w.must(w.l.Elect(w.ctx))
			w.isPrimary(ar0)
			for _, cut := range []time.Duration{time.Second, 8 * time.Second} {
				since := time.Now()
				w.loseAdverts(ar0)
				w.isPrimary(ar1)
				w.eventually("the switch sends to "+ar1.Name, func() (bool, error) { return w.switchPort() == ar1.WAN(), nil })
				time.Sleep(cut) // how long the fault lasts is what is varied
				w.hearAdverts(ar0)
				healed := time.Now()
				w.eventually("the switch sends to "+ar0.Name, func() (bool, error) { return w.switchPort() == ar0.WAN(), nil })
				took := time.Since(healed)
				t.Logf("cut for %v: the switch sends to the master again after %v", cut, took.Round(time.Millisecond))
				// The first advert, and what a busy computer adds.
				if took > 500*time.Millisecond {
					t.Errorf("cut for %v: that took %v", cut, took)
				}
				w.becomesBackup(ar1)
				w.isPrimary(ar0)
				time.Sleep(300 * time.Millisecond) // for a frame of ar1 that must not come
				if at := w.switchPort(); at != ar0.WAN() {
					t.Errorf("cut for %v: the switch sends to %s", cut, at)
				}
				if e, changed := w.tl.First(since, func(e lab.Event) bool { return e.Node == ar0.Name && e.Kind == lab.KindLink }); changed {
					t.Errorf("ar0 was not master all the time: %s", e)
				}
			}
			w.noRelease()
		})
	}
}

// loseAdverts drops all of VRRP at a router, until hearAdverts.
func (w *world) loseAdverts(r *lab.Router) {
	w.Helper()
	w.run(r, "sh", "-c", `nft -f - <<-end
		table inet adverts {
			chain input { type filter hook input priority -300; meta l4proto 112 drop; }
			chain output { type filter hook output priority -300; meta l4proto 112 drop; }
		}
	end`)
}

func (w *world) hearAdverts(r *lab.Router) {
	w.Helper()
	w.run(r, "nft", "delete", "table", "inet", "adverts")
}

// switchPort is where the ISP's switch has seen the shared MAC address last.
func (w *world) switchPort() lab.Port {
	w.Helper()
	entries, err := netlink.NeighList(0, unix.AF_BRIDGE)
	w.must(err)
	i := slices.IndexFunc(entries, func(n netlink.Neigh) bool {
		return n.HardwareAddr.String() == lab.SharedMAC().String()
	})
	if i < 0 {
		return ""
	}
	link, err := netlink.LinkByIndex(entries[i].LinkIndex)
	w.must(err)
	return lab.Port(link.Attrs().Name)
}
