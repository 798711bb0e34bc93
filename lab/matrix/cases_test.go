package matrix

import (
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/lab/nstest"
)

// usual is the network of all cases; some are renumbered.
func usual(lease time.Duration) service {
	return service{lease: lease}.in("100.64.10.1/24", "100.64.10.100", "100.64.10.120")
}

// hasty has timers of seconds, in the way that the server offers.
func hasty(s server) service {
	v := usual(max(s.shortest, 6*time.Second))
	if s.timers {
		v.t1, v.t2 = 2*time.Second, 4*time.Second
	}
	return v
}

// cases run against every server.
var cases = []struct {
	name string
	run  func(*line)
	// needs is the longest lease for which the case is worth waiting; 0: any.
	needs time.Duration
}{
	{name: "lease", run: testLease},
}

func TestServers(t *testing.T) {
	root := nstest.Image(t)
	for _, s := range kinds {
		for _, c := range cases {
			if c.needs != 0 && s.shortest > c.needs && !*long {
				continue
			}
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(newLine(t, root, s))
			})
		}
	}
}

// testLease: two packets to the first lease, one to the next, and the kernel has
// what was granted.
func testLease(l *line) {
	l.serve(usual(time.Hour))
	r := l.router()
	r.become(hooks.Primary)
	addr := r.holdsLease(time.Second)
	if got, want := r.phases(0), []string{"DISCOVER", "REQUEST selecting"}; !slices.Equal(got, want) {
		l.t.Errorf("sent %q, want %q", got, want)
	}
	st := r.status()
	if st.State != "bound" || st.Address != addr || st.Server != l.service.addr.Addr() || st.Diagnosis != "" || st.LeaseSeconds < 3590 {
		l.t.Errorf("status %+v", st)
	}
	r.become(hooks.Backup)
	count := len(r.sent())
	r.become(hooks.Primary)
	r.answers(dhcpv4.MessageTypeAck, 2, 5*time.Second)
	if again := r.holdsLease(time.Second); again != addr {
		l.t.Errorf("%v the second time, %v the first", again, addr)
	}
	if got, want := r.phases(count), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		l.t.Errorf("the second time sent %q, want %q", got, want)
	}
}
