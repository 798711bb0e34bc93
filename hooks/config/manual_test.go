package config

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// What is accepted is described, and what is described is accepted.
func TestManualIsComplete(t *testing.T) {
	source, err := os.ReadFile("build.go")
	if err != nil {
		t.Fatal(err)
	}
	var accepted, described []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t"([a-z_]+)": `).FindAllSubmatch(source, -1) {
		accepted = append(accepted, string(m[1]))
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\t"([a-z_]+)":\s+\S`).FindAllSubmatch(source, -1) {
		if !slices.Contains(accepted, string(m[1])) {
			accepted = append(accepted, string(m[1]))
		}
	}
	for _, d := range Manual() {
		described = append(described, d.Name)
		if d.Text == "" || d.Value == "" || d.Section != "wanfail" && d.Section != "wan" {
			t.Errorf("not described: %+v", d)
		}
		keyword := "option"
		if d.List {
			keyword = "list"
		}
		section := "config " + d.Section + " x\n"
		_, err := load(t, section+keyword+" "+d.Name+" !!\n")
		if err != nil && regexp.MustCompile("unknown option|takes one value").MatchString(err.Error()) {
			t.Errorf("described, and refused: %v", err)
		}
	}
	slices.Sort(accepted)
	slices.Sort(described)
	if !slices.Equal(accepted, described) {
		t.Errorf("accepted  %v\ndescribed %v", accepted, described)
	}
}
