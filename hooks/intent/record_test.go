package intent

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A record that somebody has damaged, or made up, decides nothing.
func TestParseRecord(t *testing.T) {
	const now = time.Hour
	good := Intent{Role: Primary, Scope: "VI_1", Token: Token{Ticks: uint64(now / tick), PID: 100}, Owner: Process{PID: 90, Start: 1}, State: "MASTER", At: time.Unix(1e9, 0).UTC()}
	for name, c := range map[string]struct {
		change func(*Intent)
		want   string
	}{
		"good":                   {func(*Intent) {}, ""},
		"nobody's":               {func(i *Intent) { i.Scope, i.State, i.Owner = "", "", Process{} }, ""},
		"a moment ahead":         {func(i *Intent) { i.Token.Ticks += uint64(ahead / tick) }, ""},
		"from the future":        {func(i *Intent) { i.Token.Ticks += uint64(ahead/tick) + 1 }, "from the future"},
		"from the end of time":   {func(i *Intent) { i.Token.Ticks = 1<<64 - 1 }, "from the future"},
		"control characters":     {func(i *Intent) { i.Scope = "\x1b[2J" }, "unprintable"},
		"a long name":            {func(i *Intent) { i.Scope = strings.Repeat("x", 129) }, "too long"},
		"control characters too": {func(i *Intent) { i.State = "MASTER\nlevel=ERROR" }, "is none"},
		"a long state":           {func(i *Intent) { i.State = strings.Repeat("X", 65) }, "is none"},
		"all processes":          {func(i *Intent) { i.Owner.PID = -1 }, "below zero"},
		"a process group":        {func(i *Intent) { i.Channel.PID = -90 }, "below zero"},
	} {
		t.Run(name, func(t *testing.T) {
			i := good
			c.change(&i)
			for _, f := range []file{{Boot: "b", Intents: Intents{i}}, {Boot: "b", States: States{i}}} {
				raw, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				got, err := parseRecord(raw, "b", now)
				if c.want == "" {
					if err != nil || !reflect.DeepEqual(got, f) {
						t.Errorf("got %+v, %v", got, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), c.want) || !reflect.DeepEqual(got, file{}) {
					t.Errorf("got %+v, %v, want %q", got, err, c.want)
				}
				if got, err := parseRecord(raw, "another", now); err != nil || !reflect.DeepEqual(got, file{}) {
					t.Errorf("of another boot: %+v, %v", got, err)
				}
			}
		})
	}
}

// What is taken from a file can be written and read again, and is valid.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"boot":"b","intents":[{"role":"primary","scope":"VI_1","token":{"ticks":360000,"pid":7,"seq":1},"owner":{"pid":3,"start":9},"state":"MASTER","at":"2026-01-02T03:04:05Z"}]}`))
	f.Add([]byte(`{"boot":"b","intents":[{"role":"backup","token":{"ticks":18446744073709551615}},null]}`))
	f.Add([]byte(`{"boot":"b","intents":{"role":"king"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseRecord(raw, "b", time.Hour)
		if err != nil {
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%+v: %v", got, err)
		}
		back, err := parseRecord(again, "b", time.Hour)
		is := got.Intents
		if err != nil || len(back.Intents) != len(is) || len(back.States) != len(got.States) {
			t.Fatalf("%s: %v", again, err)
		}
		newest, _ := is.For("")
		if _, newer := is.With(Intent{Token: Token{Ticks: uint64((time.Hour + 2*ahead) / tick)}}); newer != nil {
			t.Fatalf("%+v is newer than a hook of the future: %+v", newer, newest)
		}
	})
}
