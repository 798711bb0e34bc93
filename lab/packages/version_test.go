package packages

import (
	"os/exec"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	const epoch = "1795370000" // 2026-11-22
	for _, c := range []struct{ describe, deb, apk string }{
		{"v1.2.0", "1.2.0", "1.2.0"},
		{"v1.2.0-dirty", "1.2.0+dirty", "1.2.0"},
		{"v1.2.0-rc1", "1.2.0~rc1", "1.2.0_rc1"},
		{"v1.2.0-5-gabc1234", "1.2.0+5.gabc1234", "1.2.0_p5"},
		{"v1.2.0-rc2-5-gabc1234-dirty", "1.2.0~rc2+5.gabc1234+dirty", "1.2.0_rc2_p5"},
		{"abc1234", "0.0.0~git20261122.abc1234", "0.0.0_git20261122"},
		{"1234567-dirty", "0.0.0~git20261122.1234567+dirty", "0.0.0_git20261122"},
	} {
		for format, want := range map[string]string{"deb": c.deb, "apk": c.apk} {
			out, err := exec.Command(packaging("version.sh"), format, c.describe, epoch).Output()
			if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != want {
				t.Errorf("version.sh %s %s: %q, %v; want %q", format, c.describe, got, err, want)
			}
			if format == "deb" {
				// dpkg has the last word, and is who will compare them.
				if out, err := exec.Command("dpkg", "--validate-version", want).CombinedOutput(); err != nil {
					t.Errorf("dpkg refuses %s: %s", want, out)
				}
			}
		}
	}
	// A candidate sorts before the release, what comes after it behind.
	for _, order := range [][2]string{{"1.2.0~rc1", "1.2.0"}, {"1.2.0", "1.2.0+5.gabc1234"}, {"0.0.0~git20261122.abc1234", "0.1.0"}} {
		if err := exec.Command("dpkg", "--compare-versions", order[0], "lt", order[1]).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", order[0], order[1], err)
		}
	}
	if err := exec.Command(packaging("version.sh"), "rpm", "v1.0.0", epoch).Run(); err == nil {
		t.Error("an unknown format is accepted")
	}
}

// Every script of the project passes shellcheck as what runs it, a POSIX shell.
func TestShellcheck(t *testing.T) {
	out, err := exec.Command("git", "-C", repo, "grep", "-lzE", "^#(!/bin/sh| shellcheck shell=dash)", "--", "packaging", ":!*Makefile").Output()
	if err != nil {
		t.Fatalf("list scripts: %v", err)
	}
	scripts := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(scripts) < 12 {
		t.Fatalf("found only %d scripts: %q", len(scripts), scripts)
	}
	cmd := exec.Command("shellcheck", append([]string{"-s", "dash", "--"}, scripts...)...)
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}
