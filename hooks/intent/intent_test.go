package intent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wanfail/wanfail/hooks/rundir"
)

func token(n int) Token { return Token{Ticks: uint64(n), PID: 100} }

func TestTokenOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Token
		want int
	}{
		{"later tick", Token{Ticks: 2, PID: 1}, Token{Ticks: 1, PID: 9}, 1},
		{"same tick, later pid", Token{Ticks: 1, PID: 9}, Token{Ticks: 1, PID: 8}, 1},
		{"same tick, pids begin anew", Token{Ticks: 1, PID: 301}, Token{Ticks: 1, PID: 32767}, 1},
		{"same process, later line", Token{Ticks: 1, PID: 9, Seq: 2}, Token{Ticks: 1, PID: 9, Seq: 1}, 1},
		{"the same", Token{Ticks: 1, PID: 9}, Token{Ticks: 1, PID: 9}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.a.Compare(c.b); got != c.want {
				t.Errorf("%v to %v: got %d, want %d", c.a, c.b, got, c.want)
			}
			if got := c.b.Compare(c.a); got != -c.want {
				t.Errorf("%v to %v: got %d, want %d", c.b, c.a, got, -c.want)
			}
		})
	}
}

// keepalived forks hooks one after the other; their tokens must have that order.
func TestProcessTokensFollowForkOrder(t *testing.T) {
	if os.Getenv("WANFAIL_TEST_TOKEN") != "" {
		tok, err := ProcessToken()
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(tok)
		fmt.Printf("token %s\n", raw)
		return
	}
	var last Token
	for i := range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcessTokensFollowForkOrder$", "-test.v")
		cmd.Env = append(os.Environ(), "WANFAIL_TEST_TOKEN=1", "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, rest, _ := strings.Cut(string(out), "token ")
		line, _, _ := strings.Cut(rest, "\n")
		var tok Token
		if err := json.Unmarshal([]byte(line), &tok); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if i > 0 && tok.Compare(last) <= 0 {
			t.Errorf("process %d has token %v, not newer than %v", i, tok, last)
		}
		last = tok
	}
	now, err := NewNoticeClock(Process{PID: 1}).Next()
	if err != nil {
		t.Fatal(err)
	}
	if now.Ticks < last.Ticks || now.Ticks > last.Ticks+500 {
		t.Errorf("now is tick %d, a process was just started at %d: not the same clock", now.Ticks, last.Ticks)
	}
}

// Of two readers of a FIFO the later one has read the later lines, whatever their
// process ids are.
func TestNoticeTokensAscend(t *testing.T) {
	a, b := NewNoticeClock(Process{PID: 7}), NewNoticeClock(Process{PID: 7})
	var last Token
	for i := range 1000 {
		c := a
		if i/10%2 == 1 {
			c = b
		}
		tok, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if tok.Compare(last) <= 0 {
			t.Fatalf("line %d has token %v, not newer than %v", i, tok, last)
		}
		last = tok
	}
}

func TestIntentsFor(t *testing.T) {
	intents := Intents{
		{Role: Primary, Scope: "VI_1", Token: token(2)},
		{Role: Backup, Scope: "VI_2", Token: token(3)},
		{Role: Backup, Token: token(1)},
	}
	for _, c := range []struct {
		instance string
		role     Role
		tick     uint64
	}{
		{"VI_1", Primary, 2},
		{"VI_2", Backup, 3},
		{"VI_3", Backup, 1}, // nothing but the one for all
		{"", Backup, 3},     // bound to none: covered by all
	} {
		got, ok := intents.For(c.instance)
		if !ok || got.Role != c.role || got.Token.Ticks != c.tick {
			t.Errorf("instance %q: got %v of %v", c.instance, got.Role, got.Token)
		}
	}
	if _, ok := (Intents{}).For(""); ok {
		t.Error("no intents, but one was found")
	}
}

func TestIntentsWith(t *testing.T) {
	var is Intents
	add := func(scope string, tick int, role Role) *Intent {
		t.Helper()
		var newer *Intent
		is, newer = is.With(Intent{Scope: scope, Role: role, Token: token(tick)})
		return newer
	}
	if add("VI_1", 5, Primary) != nil || add("VI_2", 6, Primary) != nil {
		t.Fatal("a first intent was refused")
	}
	if n := add("VI_1", 4, Backup); n == nil || n.Token.Ticks != 5 {
		t.Errorf("an older intent of the same scope was taken: %v", n)
	}
	if add("", 4, Backup) != nil {
		t.Error("an older intent for all must stay on record for the instances that no newer one covers")
	}
	for _, instance := range []string{"VI_1", "VI_2"} {
		if i, _ := is.For(instance); i.Role != Primary || i.Scope != instance {
			t.Errorf("an older intent for all took the newer one of %s away: %v", instance, is)
		}
	}
	if add("", 9, Backup) != nil || len(is) != 1 {
		t.Errorf("a newer intent for all must replace everything, have %v", is)
	}
	if n := add("VI_1", 8, Primary); n == nil {
		t.Error("an intent older than the one for all was taken")
	}
}

// Whatever the order of arrival, the newest ends up on record.
func TestRecordLatestWins(t *testing.T) {
	store, err := OpenStore(rundir.At(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	var wg sync.WaitGroup
	for _, i := range rand.Perm(n) {
		wg.Go(func() {
			role := Role(i % 2)
			if _, err := store.Record(Intent{Role: role, Token: token(i + 1), State: "X"}, RecordLimit); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	is, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := is.For("")
	if got.Token.Ticks != n || len(is) != 1 {
		t.Errorf("got %v, want the one intent of tick %d", is, n)
	}
}

func TestLoadRecovers(t *testing.T) {
	for _, c := range []struct {
		name, content string
		wantErr       bool
	}{
		{"other boot", `{"boot":"00000000-0000-0000-0000-000000000000","intents":[{"role":"primary","token":{"ticks":1,"pid":1},"state":"MASTER","at":"2026-01-01T00:00:00Z"}]}`, false},
		{"empty", "", true},
		{"cut off", `{"boot":"`, true},
		{"unknown role", `{"boot":"x","intents":[{"role":"king"}]}`, true},
		{"huge", strings.Repeat(" ", maxFile+1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := OpenStore(rundir.At(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, rundir.IntentFile), []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			is, err := store.Load()
			if (err != nil) != c.wantErr || len(is) != 0 {
				t.Errorf("got %v, error %v", is, err)
			}
			// The next hook puts it right, however broken it is.
			if _, err := store.Record(Intent{Role: Primary, Token: token(1)}, RecordLimit); err != nil {
				t.Fatal(err)
			}
			if is, err = store.Load(); err != nil || len(is) != 1 {
				t.Errorf("after a new record: got %v, error %v", is, err)
			}
		})
	}
}

func TestRecordLeavesNoLitter(t *testing.T) {
	dir := t.TempDir()
	store, err := OpenStore(rundir.At(dir))
	if err != nil {
		t.Fatal(err)
	}
	// A hook was killed between writing and renaming.
	if err := os.WriteFile(filepath.Join(dir, rundir.IntentFile+".new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Record(Intent{Token: token(1)}, RecordLimit); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "intent.json intent.lock" {
		t.Errorf("run directory holds %q", got)
	}
}

func TestParseState(t *testing.T) {
	for state, want := range map[string]Change{
		"MASTER": ToPrimary, "master": ToPrimary, "primary": ToPrimary,
		"BACKUP": ToBackup, "FAULT": ToBackup, "Stop": ToBackup, "DELETED": ToBackup,
		"MASTER_RX_LOWER_PRI": ToAnnounce, "BACKUP_PRIORITY": NoChange, "MASTER_PRIORITY": NoChange,
		"": UnknownState, "slave": UnknownState,
	} {
		if got := ParseState(state); got != want {
			t.Errorf("%q: got %d, want %d", state, got, want)
		}
	}
}

func TestValidScope(t *testing.T) {
	for name, valid := range map[string]bool{
		"VI_1": true, "wan group é": true, "": false, "a\nb": false, "\x1b[2J": false, strings.Repeat("x", 129): false,
	} {
		if err := ValidScope(name); (err == nil) != valid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestProcessEnds(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := Process{PID: cmd.Process.Pid, Start: st.start}
	if p.Gone() {
		t.Error("a living process is gone")
	}
	if other := (Process{PID: p.PID, Start: p.Start + 1}); !other.Gone() {
		t.Error("a process with another start time is not the same")
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !p.Gone() {
		t.Error("a process that has ended is not gone")
	}
	if _, err := p.Open(); !errors.Is(err, ErrGone) {
		t.Errorf("open: %v", err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("17 (keepalived) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 999 20"))
	f.Add([]byte("17 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 999 20"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, err := parseStat(raw)
		if err == nil && !strings.Contains(string(raw), "("+st.comm+")") {
			t.Errorf("name %q is not in %q", st.comm, raw)
		}
	})
}
