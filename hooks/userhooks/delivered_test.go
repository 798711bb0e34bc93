package userhooks

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/wanfail/wanfail/hooks/config"
)

const someLease = `{"prefix":"192.0.2.100/24","broadcast":"192.0.2.255","server":"192.0.2.1","gateway":"","acquired":1,"t1":2,"t2":3,"ttl":4}`

// A file that is no such record is ignored: scripts are called again.
func TestParse(t *testing.T) {
	for text, valid := range map[string]bool{
		`{}`:                                   true,
		`{"role":"primary","leases":null}`:     true,
		`{"leases":{"wan":` + someLease + `}}`: true,
		`{"role":"king"}`:                      false,
		`{"role":"primary\u000aWANFAIL_X=1"}`:  false,
		`{"leases":{"wan":null}}`:              false,
		`{"leases":{"wan":{}}}`:                false,
		`{"leases":{"wan":{"prefix":"192.0.2.100/24","server":"192.0.2.1","gateway":"","domain":"$(id)","t1":2,"t2":3,"ttl":4}}}`: false,
		`{"leases":{"":` + someLease + `}}`:      false,
		`{"leases":{"$(id)":` + someLease + `}}`: false,
		`[]`:                                     false,
		``:                                       false,
	} {
		if s, err := parse([]byte(text)); (err == nil) != valid {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

// What is read from a file can be passed to scripts and written again.
func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"role":"backup","leases":{"wan":` + someLease + `}}`))
	f.Add([]byte(`{"role":"primary","leases":{"wan":null,"":{}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parse(raw)
		if err != nil {
			return
		}
		for name, l := range s.Leases {
			for _, variable := range (event{name: "bound", wan: config.WAN{Name: name}, lease: l, old: l}).environment() {
				if strings.ContainsFunc(variable, unicode.IsControl) {
					t.Fatalf("%q", variable)
				}
			}
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parse(again)
		if err != nil || back.Role != s.Role || len(back.Leases) != len(s.Leases) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
