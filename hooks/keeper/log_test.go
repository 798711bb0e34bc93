package keeper_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
	"github.com/wanfail/wanfail/lab/nstest"
)

// said is what a keeper logs.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// take returns the lines since it was called last.
func (s *said) take() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.text.String()) {
		lines = append(lines, strings.TrimSpace(line))
	}
	s.text.Reset()
	return lines
}

var (
	message = regexp.MustCompile(`level=(\S+) msg=(?:"([^"]*)"|(\S+))`)
	keyed   = regexp.MustCompile(`(\w+)=(?:"[^"]*"|\S*)`)
	quoted  = regexp.MustCompile("`([^`]+)`")
)

// part returns a section of docs/status.md.
func part(t *testing.T, title string) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(raw), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("docs/status.md has no section %s", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// inQuotes are the words in backquotes.
func inQuotes(text string) (words []string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

// A WAN's whole life, with a real server: one line for each transition and each
// change of the lease, none for anything else, in the words and with the keys
// that docs/status.md lists, all of which occur; and what status says meanwhile
// is in its words, too.
func TestLogHasEachChangeOnce(t *testing.T) {
	w := newLine(t)
	root := nstest.Image(t)
	serve := func(options ...string) (stop func()) {
		t.Helper()
		cmd := w.isp.Daemon(t, root, "dnsmasq", append([]string{
			"--keep-in-foreground", "--user=root", "--conf-file=/dev/null", "--pid-file=", "--port=0", "--interface=isp0", "--no-ping",
			"--dhcp-authoritative", "--dhcp-leasefile=/run/leases",
		}, options...)...)
		w.served()
		return func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _, _ = cmd.Process.Wait() }
	}
	const (
		first  = "--dhcp-range=100.64.10.100,100.64.10.100,255.255.255.0,3600"
		second = "--dhcp-range=100.64.10.120,100.64.10.120,255.255.255.0,3600"
		router = "--dhcp-option=3,100.64.10.1"
	)
	log := &said{}
	w.log = slog.New(slog.NewTextHandler(io.MultiWriter(log, &testLog{t: t}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	reports := w.follow()
	quick := func(o *keeper.Options) { o.Config.WANs[0].ARPInterval = 50 * time.Millisecond }
	found := map[string]bool{} // "message key"
	renewed := false           // a renewal was told of at debug
	// expects waits for lines and checks that there are no others, but warnings.
	expects := func(what string, want ...string) (warnings []string) {
		t.Helper()
		var got, all []string
		w.eventually("lines after: "+what, 15*time.Second, func() bool {
			for _, line := range log.take() {
				all = append(all, line)
				m := message.FindStringSubmatch(line)
				msg := m[2] + m[3]
				switch {
				case msg == "lease renewed":
					renewed = m[1] == "DEBUG"
					continue
				case m[1] == "DEBUG":
					continue
				case m[1] != "INFO":
					warnings = append(warnings, line)
					continue
				}
				got = append(got, msg)
				for _, k := range keyed.FindAllStringSubmatch(line[strings.Index(line, m[0])+len(m[0]):], -1) {
					found[msg+" "+k[1]] = true
				}
			}
			return len(got) >= len(want)
		})
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("after %s it says %q, want %q; all:\n%s", what, got, want, strings.Join(all, "\n"))
		}
		return warnings
	}
	calm := func(warnings []string) {
		t.Helper()
		if len(warnings) > 0 {
			t.Errorf("nothing is wrong, and it warns: %q", warnings)
		}
	}
	change := func(f func(netlink.Link) error) {
		t.Helper()
		w.isp.Do(t, func() error {
			l, err := netlink.LinkByName("isp0")
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	// flap lets the client ask the server anew for what it has.
	flap := func() {
		t.Helper()
		change(netlink.LinkSetDown)
		w.eventually("no carrier", 5*time.Second, func() bool { return w.status().WANs[0].Diagnosis == "no-carrier" })
		change(netlink.LinkSetUp)
	}
	slow := func(d time.Duration) {
		w.services.mu.Lock()
		defer w.services.mu.Unlock()
		w.services.delay = d
	}
	bound := func() bool { return w.status().WANs[0].State == "bound" }
	reachable := func() bool { g := w.status().WANs[0].Gatewayed; return g != nil && g.Reachable }

	stopServer := serve(first, router)
	stop := w.keeper(quick)
	calm(expects("a start", "is backup"))
	w.become(intent.Primary)
	calm(expects("primary", "is primary", "lease bound"))
	w.become(intent.Primary)
	flap()
	w.eventually("a renewal", 10*time.Second, func() bool { expects("a renewal"); return renewed })

	w.eventually("the gateway answers", 5*time.Second, reachable)
	change(netlink.LinkSetARPOff)
	w.eventually("the gateway is silent", 5*time.Second, func() bool { return !reachable() })
	change(netlink.LinkSetARPOn)
	w.eventually("the gateway answers again", 5*time.Second, reachable)
	calm(expects("a gateway that is silent for a while"))

	stopServer()
	stopServer = serve(first, router, "--dhcp-option=6,100.64.10.53")
	flap()
	expects("another name server", "lease changed")

	stop()
	w.keeper(quick)
	w.eventually("bound after a restart", 10*time.Second, bound)
	calm(expects("a restart", "is primary"))

	stopServer()
	serve(second, router)
	flap()
	expects("another network", "lease lost", "lease bound")

	w.become(intent.Backup)
	calm(expects("backup", "is backup", "lease left to the peer"))

	slow(5 * time.Second)
	w.say(w.intent(intent.Primary), 100*time.Millisecond)
	w.eventually("bound", 10*time.Second, bound)
	slow(0)
	w.become(intent.Backup)
	calm(expects("a role request that was superseded", "lease bound", "superseded on the way to primary", "lease left to the peer", "is backup"))

	w.become(intent.Primary)
	calm(expects("primary again", "is primary", "lease bound"))
	if _, err := w.hook().Say(t.Context(), control.OpRelease, w.intent(intent.Backup), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	calm(expects("a release", "is backup", "lease released"))

	documented := map[string]bool{}
	for row := range strings.Lines(part(t, "The log")) {
		cells := strings.Split(row, "|")
		if len(cells) != 4 {
			continue
		}
		for _, msg := range inQuotes(cells[1]) {
			for _, key := range inQuotes(cells[2]) {
				// Seldom: a transition that is overtaken on the way to backup, and the end
				// of a lease that this keeper has seen begin.
				documented[msg+" "+key] = strings.HasPrefix(msg, "superseded on the way to backup") || msg+" "+key == "lease lost held"
			}
		}
	}
	for k := range found {
		if _, ok := documented[k]; !ok {
			t.Errorf("docs/status.md does not list: %s", k)
		}
	}
	for k, rare := range documented {
		if !found[k] && !rare {
			t.Errorf("docs/status.md lists what is not logged: %s", k)
		}
	}

	words := inQuotes(part(t, "The words"))
	for _, word := range reports() {
		if !slices.Contains(words, word) {
			t.Errorf("status says %q, docs/status.md does not", word)
		}
	}
}

// follow collects the words of all reports that follow, until it is asked.
func (w *world) follow() (words func() []string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	seen := map[string]bool{}
	var following sync.WaitGroup
	note := func(r control.Report) {
		seen[r.Role.String()] = true
		for _, n := range r.WANs {
			seen[n.State], seen[n.Role.String()], seen[n.Diagnosis] = true, true, true
		}
		for _, tr := range r.Transitions {
			for _, p := range tr.Phases {
				verb, _, _ := strings.Cut(p.Name, " ")
				if verb != control.PhaseStart && verb != control.PhaseStop {
					verb = p.Name
				}
				seen[verb] = true
			}
		}
	}
	following.Go(func() {
		for ctx.Err() == nil { // one keeper after the other
			conn, err := control.Dial(ctx, rundir.At(w.dir))
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			var r control.Report
			for err := conn.Ask(ctx, control.Request{Op: control.OpWatch}, &r); err == nil; err = conn.Next(ctx, &r) {
				note(r)
				r = control.Report{}
			}
			_ = conn.Close()
		}
	})
	return func() (all []string) {
		cancel()
		following.Wait()
		delete(seen, "")
		for word := range seen {
			all = append(all, word)
		}
		if len(all) < 10 {
			w.t.Errorf("status said nothing but %q", all)
		}
		return all
	}
}
