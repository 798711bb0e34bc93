package keeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// The very first report of a keeper names every WAN and every service; a service
// that is on its way is pending until it has arrived.
func TestStatusFromTheFirstMoment(t *testing.T) {
	w := newWorld(t)
	slow := func(d time.Duration) {
		w.services.mu.Lock()
		defer w.services.mu.Unlock()
		w.services.delay = d
	}
	expects := func(when string, r control.Report, pending, running bool) {
		t.Helper()
		if len(r.WANs) != 1 || r.WANs[0].Name != wanName || r.WANs[0].Parent != port || r.WANs[0].MAC != mac || r.WANs[0].State == "" {
			t.Errorf("%s: WANs %+v", when, r.WANs)
		}
		if len(r.Services) != 2 || r.Services[0].Name != "dnsmasq" || r.Services[1].Name != "miniupnpd" {
			t.Errorf("%s: services %+v", when, r.Services)
		}
		for _, s := range r.Services {
			if s.Backend != "fake" || s.Pending != pending || s.Running != running || s.Error != "" {
				t.Errorf("%s: %+v, want pending %v, running %v", when, s, pending, running)
			}
		}
	}
	settled := func() bool { r := w.status(); return !r.Services[0].Pending && !r.Services[1].Pending }

	stop := w.keeper()
	w.eventually("backup", 5*time.Second, settled)
	expects("backup", w.status(), false, false)
	slow(500 * time.Millisecond)
	w.say(w.intent(intent.Primary), time.Millisecond)
	expects("on the way to primary", w.status(), true, false)
	w.eventually("primary", 5*time.Second, settled)
	expects("primary", w.status(), false, true)
	stop()

	for _, name := range []string{"dnsmasq", "miniupnpd"} {
		_ = w.services.Stop(t.Context(), name)
	}
	w.keeper()
	r := w.status()
	expects("the next keeper's first report", r, true, false)
	if r.Role != intent.Primary || r.WANs[0].Role != intent.Primary || !r.WANs[0].Address.IsValid() {
		t.Errorf("the next keeper's first report: %s, %+v", r.Role, r.WANs)
	}
	w.eventually("primary", 5*time.Second, settled)
	expects("primary again", w.status(), false, true)
}

// Without a keeper, status shows what a keeper would decide: a master whose FIFO is
// no longer read is backup.
func TestLookAfterTheReaderExited(t *testing.T) {
	w := newLine(t)
	keepalived, end := w.process()
	defer end()
	reader, kill := w.process()
	i := w.intent(intent.Primary)
	i.Owner, i.Channel = keepalived, reader
	store, err := intent.OpenStore(rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(i, intent.RecordLimit); err != nil {
		t.Fatal(err)
	}
	if r := keeper.Look(t.Context(), w.options()); r.Role != intent.Primary || r.WANs[0].Role != intent.Primary || r.Since.IsZero() {
		t.Errorf("%+v", r)
	}
	kill()
	if r := keeper.Look(t.Context(), w.options()); r.Role != intent.Backup || r.WANs[0].Role != intent.Backup || !strings.Contains(r.By, "FIFO exited") {
		t.Errorf("%+v", r)
	}
}

// A keeper that starts with the record of a keepalived, or a reader of its FIFO,
// that has exited is backup from the start: no link is made that is then deleted.
func TestRecordOfAnExitedKeepalived(t *testing.T) {
	w := newLine(t)
	for _, dead := range []string{"keepalived", "reader"} {
		keepalived, end := w.process()
		reader, kill := w.process()
		i := w.intent(intent.Primary)
		i.Owner, i.Channel = keepalived, reader
		store, err := intent.OpenStore(rundir.At(w.dir))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Record(i, intent.RecordLimit); err != nil {
			t.Fatal(err)
		}
		if dead == "reader" {
			end = kill
		}
		end()
		changes := w.monitor()
		stop := w.keeper()
		if r := w.status(); r.Role != intent.Backup || !strings.Contains(r.By, "exited without notifying") {
			t.Errorf("%s: %+v", dead, r)
		}
		for _, c := range changes() {
			if strings.HasPrefix(c, "link "+wanName) {
				t.Errorf("%s: %s", dead, c)
			}
		}
		stop()
	}
}
