package keeper_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/keeper"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// A follower gets a report after each change, and no other: followers must not keep
// the keeper busy.
func TestFollow(t *testing.T) {
	w := newLine(t)
	w.keeper()
	w.eventually("backup is reached", 5*time.Second, func() bool { return len(w.status().Transitions) == 1 })
	conn, err := control.Dial(t.Context(), rundir.At(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reports := make(chan control.Report, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var r control.Report
		for err := conn.Ask(ctx, control.Request{Op: control.OpWatch}, &r); err == nil; err = conn.Next(ctx, &r) {
			reports <- r
			r = control.Report{}
		}
	}()
	defer func() { cancel(); <-done }()

	quiet := func() (n int, last control.Report) {
		for {
			select {
			case last = <-reports:
				n++
			case <-time.After(500 * time.Millisecond):
				return n, last
			}
		}
	}
	// What the start of a keeper is followed by, such as the parent's link coming up,
	// may still be reported.
	if n, r := quiet(); n < 1 || n > 5 || r.Role != intent.Backup {
		t.Errorf("after the start: %d reports, the last %+v", n, r)
	}
	if n, r := quiet(); n != 0 {
		t.Errorf("at rest: %d reports, want none; %+v", n, r)
	}
	for range 5 {
		w.status() // others may ask
	}
	if n, _ := quiet(); n != 0 {
		t.Errorf("%d reports because somebody asked", n)
	}
	w.say(w.intent(intent.Primary), 100*time.Millisecond)
	n, r := quiet()
	if n == 0 || n > 20 || r.Role != intent.Primary || r.WANs[0].State != "selecting" {
		t.Errorf("after a promotion: %d reports, the last %+v", n, r)
	}
	w.become(intent.Backup)
	if n, r = quiet(); n == 0 || r.Role != intent.Backup || r.WANs[0].State != "standby" {
		t.Errorf("after a demotion: %d reports, the last %+v", n, r)
	}
}

// The roles are reported once each, in order, with who asked.
func TestRolesAreReported(t *testing.T) {
	w := newLine(t)
	told := make(chan string, 10)
	w.keeper(func(o *keeper.Options) {
		o.Roles = func(role intent.Role, by string) { told <- role.String() + " " + by }
	})
	w.say(w.intent(intent.Primary), 50*time.Millisecond)
	w.become(intent.Backup)
	w.become(intent.Backup)
	close(told)
	var got []string
	for s := range told {
		got = append(got, s)
	}
	want := []string{"backup default after boot; keepalived has called no hook", "primary by hand PRIMARY", "backup by hand BACKUP"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
