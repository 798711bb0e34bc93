package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// envFailovers is how many failovers TestOneTransmitter makes.
const envFailovers = "WANFAIL_FAILOVERS"

// failover is one way for the master's role to leave ar0, and to come back.
type failover struct {
	name       string
	away, back func(w *world, r *lab.Router)
	// changes of the speaker on the way out: 1 for a change of master, 2 where it
	// comes back by itself, 0 where nothing may happen.
	changes int
}

var failovers = []failover{
	{"stop", stopKeepalived, startKeepalived, 1},
	{"killed", func(w *world, r *lab.Router) { w.run(r, "systemctl", "kill", "--signal=KILL", "keepalived") }, func(w *world, r *lab.Router) {
		w.run(r, "systemctl", "reset-failed", "keepalived")
		startKeepalived(w, r)
	}, 1},
	{"cable", func(w *world, r *lab.Router) { w.must(w.l.Cut(r.LAN())) }, func(w *world, r *lab.Router) { w.must(w.l.Plug(r.LAN())) }, 1},
	{"reload", func(w *world, r *lab.Router) { w.run(r, "systemctl", "reload", "keepalived") }, nil, 0},
	{"restart", func(w *world, r *lab.Router) { w.run(r, "systemctl", "restart", "keepalived") }, nil, 2},
	{"crash", func(w *world, r *lab.Router) { w.must(r.Crash()) }, func(w *world, r *lab.Router) {
		startKeepalived(w, r)
	}, 1},
}

func stopKeepalived(w *world, r *lab.Router)  { w.must(r.StopKeepalived(w.ctx)) }
func startKeepalived(w *world, r *lab.Router) { w.must(r.StartKeepalived(w.ctx)) }

func (w *world) run(r *lab.Router, name string, arg ...string) {
	w.Helper()
	_, err := r.Run(w.ctx, name, arg...)
	w.must(err)
}

// TestOneTransmitter listens at both WAN ports over failovers of every kind, with
// traffic through the routers all the time: the shared MAC address never sends
// from both ports at once, and no other address sends at all.
func TestOneTransmitter(t *testing.T) {
	rounds := 12
	if s := os.Getenv(envFailovers); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	w := build(t, time.Duration(rounds)*20*time.Second, lab.Options{Conntrackd: true})
	ar0, ar1 := w.l.Router(0), w.l.Router(1)
	for i := range 2 {
		// What the port itself would say is the administrator's to silence;
		// wanfail's status says so (TestNoisyPort).
		w.run(w.l.Router(i), "sysctl", "-qw", "net.ipv6.conf.eth2.disable_ipv6=1")
	}
	w.must(w.l.Elect(w.ctx))
	w.isPrimary(ar0)
	ping, err := w.l.Client.Start(w.ctx, "ping", "-q", "-i", "0.01", lab.InternetAddr.String())
	w.must(err)
	defer ping.Stop(time.Second)
	counts := map[string]int{}
	for made := 0; made < rounds; {
		for _, f := range failovers {
			w.listen(f.name+" of ar0", ar0, f.changes, func() time.Time {
				since := time.Now()
				f.away(w, ar0)
				return since
			}, func() {
				switch f.changes {
				case 1:
					w.unmuted(ar1)
				case 2:
					w.unmuted(ar0)
				}
			})
			made++
			counts[f.name]++
			if f.back == nil {
				continue
			}
			if f.name == "crash" {
				w.must(ar0.Boot(w.ctx))
				w.run(ar0, "sysctl", "-qw", "net.ipv6.conf.eth2.disable_ipv6=1")
			}
			w.listen("ar0 preempts after "+f.name, ar1, 1, func() time.Time {
				since := time.Now()
				f.back(w, ar0)
				return since
			}, func() { w.unmuted(ar0) })
			made++
			counts["preempt"]++
			if t.Failed() {
				return
			}
		}
	}
	w.isPrimary(ar0)
	w.isBackup(ar1)
	w.noRelease()
	t.Logf("failovers: %v", counts)
}

// unmuted waits until the router is master, with a WAN that is not mute: one that
// was silenced a moment ago still has its address.
func (w *world) unmuted(r *lab.Router) {
	w.Helper()
	w.eventually(r.Name+" is master", func() (bool, error) { return r.HoldsVIP() })
	w.isPrimary(r)
}

// listen captures both WAN ports over what act starts and settled waits for, and
// checks who transmitted: the master to begin with.
func (w *world) listen(name string, master *lab.Router, changes int, act func() time.Time, settled func()) {
	w.Helper()
	var captures [2]*lab.Capture
	for i := range captures {
		c, err := w.l.Capture(w.l.Router(i).WAN(), nil)
		w.must(err)
		captures[i] = c
		if w.l.Router(i) == master {
			_, err := c.Wait(w.ctx, func(f lab.Frame) bool { return f.FromMachine && bytes.Equal(f.Src(), lab.SharedMAC()) })
			w.must(err)
		}
	}
	since := act()
	settled()
	// An overlap would come late: the old master after the new one has begun.
	time.Sleep(300 * time.Millisecond)
	var said []utterance
	for i, c := range captures {
		r := w.l.Router(i)
		on := r.On()
		if err := c.Close(); err != nil && on {
			w.Errorf("%s: %v", name, err)
		}
		for _, f := range c.Frames(func(f lab.Frame) bool { return f.FromMachine }) {
			if bytes.Equal(f.Src(), lab.SharedMAC()) {
				said = append(said, utterance{f, r.Name})
			} else {
				w.Errorf("%s: from the WAN port of %s: %s", name, r.Name, describe(f))
			}
		}
	}
	slices.SortStableFunc(said, func(a, b utterance) int { return a.frame.At.Compare(b.frame.At) })
	var turns []string
	var silence time.Duration
	for i, u := range said {
		if i == 0 || said[i-1].who != u.who {
			turns = append(turns, fmt.Sprintf("%s from %v on: %s", u.who, u.frame.At.Sub(since).Round(10*time.Microsecond), describe(u.frame)))
			if i > 0 {
				silence = u.frame.At.Sub(said[i-1].frame.At)
			}
		}
	}
	got := len(turns) - 1
	if got > changes || changes < 2 && got != changes {
		w.Errorf("%s: the speaker changed %d times, want %d: %s", name, got, changes, strings.Join(turns, "; "))
		return
	}
	w.Logf("%s: %d frames, silence between the two %v", name, len(said), silence.Round(100*time.Microsecond))
}

// utterance is a frame with the shared MAC address.
type utterance struct {
	frame lab.Frame
	who   string
}

func describe(f lab.Frame) string {
	s := f.String()
	if binary.BigEndian.Uint16(f.Data[12:]) == unix.ETH_P_IP && len(f.Data) >= 34 {
		s += fmt.Sprintf(", IPv4 protocol %d", f.Data[23])
	}
	return fmt.Sprintf("%s (source %s)", s, f.Src())
}

// TestNoisyPort: what the WAN port says with its own MAC address is reported,
// with the remedy, and the remedy helps.
func TestNoisyPort(t *testing.T) {
	w := build(t, 30*time.Second, lab.Options{})
	r := w.l.Router(0)
	noisy := func() bool {
		out, err := r.Run(w.ctx, "wanfail", "status", "--json")
		w.must(err)
		return strings.Contains(out, "parent eth2 speaks IPv6")
	}
	w.role(r, "primary")
	w.run(r, "sysctl", "-qw", "net.ipv6.conf.eth2.disable_ipv6=0")
	if !noisy() {
		t.Error("status does not warn of a parent that uses IPv6")
	}
	w.run(r, "sysctl", "-qw", "net.ipv6.conf.eth2.disable_ipv6=1")
	if noisy() {
		t.Error("status still warns after the remedy")
	}
}
