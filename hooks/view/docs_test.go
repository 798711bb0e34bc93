package view

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
)

// docs/status.md has the words that status uses, and no others. What the keeper
// logs and reports for real is held against it in hooks/keeper.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	tables, ok := map[string]string{}, false
	for _, name := range []string{"The words", "The log", "`--json`", "`--prometheus`"} {
		var section string
		if _, section, ok = strings.Cut(text, "\n## "+name+"\n"); !ok {
			t.Fatalf("no section %s", name)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		tables[name] = section
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	compare := func(section string, want, elsewhere []string) {
		t.Helper()
		var found []string
		for _, m := range quoted.FindAllStringSubmatch(tables[section], -1) {
			word := strings.TrimSuffix(m[1], "[]")
			found = append(found, word)
			if !slices.Contains(want, word) && !slices.Contains(elsewhere, word) {
				t.Errorf("%s: `%s` is no word of status", section, word)
			}
		}
		for _, word := range want {
			if !slices.Contains(found, word) {
				t.Errorf("%s: lacks `%s`", section, word)
			}
		}
	}
	roles := []string{intent.Primary.String(), intent.Backup.String()}
	compare("The words", words(), nil)

	var fields []string
	for _, v := range []any{control.Report{}, control.VRRP{}, control.WAN{}, control.Reach{}, control.Service{}, control.Transition{}, control.Phase{}, control.Daemon{}, control.AtBoot{}} {
		for f := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(f).Tag.Get("json"), ",")
			fields = append(fields, name)
		}
	}
	compare("`--json`", fields, append(roles, "ok", "off", "failing: ", "systemd", "init", "option arp_interval"))

	var series []string
	for _, m := range metrics(reports()["primary"], now) {
		series = append(series, m.name)
		for _, s := range m.samples {
			for i := 0; i < len(s.labels); i += 2 {
				series = append(series, s.labels[i])
			}
		}
	}
	compare("`--prometheus`", series, []string{"+Inf"})
}

// words are those of "The words".
func words() (all []string) {
	all = []string{
		intent.Primary.String(), intent.Backup.String(),
		string(control.Reached), string(control.Degraded), string(control.Superseded),
		dhcp.LeaseBound, dhcp.LeaseChanged, dhcp.LeaseLost,
	}
	all = append(append(all, control.WANStates()...), control.Phases()...)
	for s := dhcp.Init; !strings.HasPrefix(s.String(), "state("); s++ {
		all = append(all, s.String())
	}
	for d := dhcp.OK; !strings.HasPrefix(d.String(), "diagnosis("); d++ {
		all = append(all, d.String())
	}
	return all
}
