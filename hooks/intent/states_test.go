package intent

import (
	"slices"
	"testing"

	"github.com/wanfail/wanfail/hooks/rundir"
)

var (
	keepalivedA = Process{PID: 100, Start: 1}
	keepalivedB = Process{PID: 200, Start: 2}
)

func said(by Process, scope string, tick int, role Role) Intent {
	state := "BACKUP"
	if role == Primary {
		state = "MASTER"
	}
	return Intent{Role: role, Scope: scope, Token: token(tick), Owner: by, State: state}
}

func goneAre(dead ...Process) func(Process) bool {
	return func(p Process) bool { return slices.Contains(dead, p) }
}

func TestStatesWith(t *testing.T) {
	byHand := Intent{Role: Primary, Token: token(50)}
	var s States
	for _, i := range []Intent{
		said(keepalivedA, "VI_1", 10, Backup), said(keepalivedA, "VI_2", 11, Primary), byHand,
		said(keepalivedA, "VI_1", 9, Primary), // late
	} {
		s = s.With(i, goneAre())
	}
	if len(s) != 2 || s[0].Scope != "VI_1" || s[0].Role != Backup || s[1].Role != Primary {
		t.Fatalf("have %+v", s)
	}
	// Another keepalived that runs beside the first does not replace it; after its
	// end it does, all of it.
	beside := s.With(said(keepalivedB, "VI_9", 20, Backup), goneAre())
	if len(beside) != 3 {
		t.Errorf("beside: %+v", beside)
	}
	after := s.With(said(keepalivedB, "VI_1", 20, Backup), goneAre(keepalivedA))
	if len(after) != 1 || after[0].Owner != keepalivedB {
		t.Errorf("after the end of the first: %+v", after)
	}
	if len(s) != 2 {
		t.Error("With has changed what it was called on")
	}
}

func TestStatesDisputed(t *testing.T) {
	byHand := func(role Role, scope string) Intent { return Intent{Role: role, Scope: scope, Token: token(50)} }
	s := States{said(keepalivedA, "VI_1", 10, Backup), said(keepalivedA, "VI_2", 11, Primary)}
	for _, c := range []struct {
		name     string
		i        Intent
		instance string
		dead     []Process
		want     bool
	}{
		{"primary against BACKUP", byHand(Primary, ""), "VI_1", nil, true},
		{"primary as MASTER is", byHand(Primary, ""), "VI_2", nil, false},
		{"backup against MASTER", byHand(Backup, ""), "VI_2", nil, true},
		{"a WAN of every instance: the newest counts", byHand(Primary, ""), "", nil, false},
		{"keepalived has ended", byHand(Primary, ""), "VI_1", []Process{keepalivedA}, false},
		{"of that instance nothing was said", byHand(Primary, ""), "VI_3", nil, false},
		{"the request is about another instance", byHand(Primary, "VI_2"), "VI_1", nil, false},
		{"not by hand", said(keepalivedA, "VI_1", 50, Primary), "VI_1", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d, got := s.Disputed(c.i, c.instance, goneAre(c.dead...)); got != c.want {
				t.Errorf("got %v, %+v", got, d)
			}
		})
	}
}

// What keepalived reported stays on record whatever a person requests, and for as
// long as it is not replaced.
func TestRecordKeepsStates(t *testing.T) {
	store, err := OpenStore(rundir.At(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	record := func(i Intent) (newer *Intent) {
		t.Helper()
		newer, err := store.Record(i, RecordLimit)
		if err != nil {
			t.Fatal(err)
		}
		return newer
	}
	record(said(self, "VI_1", 10, Backup))
	record(Intent{Role: Primary, Token: token(20), State: "PRIMARY"})
	if newer := record(said(self, "VI_1", 15, Primary)); newer == nil || newer.State != "PRIMARY" {
		t.Errorf("a notification from before the command supersedes it: %v", newer)
	}
	is, err := store.Load()
	if err != nil || len(is) != 1 || is[0].State != "PRIMARY" {
		t.Errorf("intents %+v, %v", is, err)
	}
	states, err := store.States()
	if err != nil || len(states) != 1 || states[0].Token != token(15) || states[0].State != "MASTER" {
		t.Errorf("states %+v, %v", states, err)
	}
}
