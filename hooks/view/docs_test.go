package view

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks"
)

// docs/status.md names every field, state and metric.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	need := func(word string) {
		if !strings.Contains(text, "`"+word+"`") && !strings.Contains(text, "`"+word+"[]`") {
			t.Errorf("docs/status.md lacks `%s`", word)
		}
	}
	for _, v := range []any{hooks.Report{}, hooks.WAN{}, hooks.Reach{}, hooks.Service{}, hooks.Transition{}, hooks.Phase{}} {
		for f := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(f).Tag.Get("json"), ",")
			need(name)
		}
	}
	for s := dhcp.Init; s <= dhcp.Rebinding; s++ {
		need(s.String())
	}
	for d := dhcp.NoCarrier; d <= dhcp.Unusable; d++ {
		need(d.String())
	}
	for _, m := range metrics(reports()["primary"], now) {
		need(m.name)
		for _, s := range m.samples {
			for i := 0; i < len(s.labels); i += 2 {
				need(s.labels[i])
			}
		}
	}
}
