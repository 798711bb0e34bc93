package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/command"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/intent"
)

// flat is text without its line breaks, indents and roff.
func flat(s string) string {
	s = regexp.MustCompile(`(?m)^\.(TP|PP|nf|fi)\n`).ReplaceAllString(s, "")
	s = regexp.MustCompile(`(?m)^\.(B|SS|SH|BR) `).ReplaceAllString(s, "")
	s = strings.NewReplacer(`\-`, "-", `\e`, `\`, `\&`, "").Replace(s)
	return strings.Join(strings.Fields(s), " ")
}

func help(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := command.Run(context.Background(), "1.0", append([]string{"wanfail"}, append(args, "--help")...), &out, &out); code != 0 {
		t.Fatalf("%v --help: exit code %d: %s", args, code, out.String())
	}
	return out.String()
}

// What --help says of a command or an option, the manual says in the same words.
func TestManualSaysWhatHelpSays(t *testing.T) {
	app := command.App("1.0")
	man := flat(manual(app))
	said := map[string]bool{} // in some --help
	check := func(text string, where ...string) {
		t.Helper()
		// A section of options has lines of two columns: "   --wait value  how long".
		_, opts, ok := strings.Cut(text, "OPTIONS:\n")
		if !ok {
			t.Fatalf("no options in the help of %v:\n%s", where, text)
		}
		for _, line := range strings.Split(strings.TrimSpace(opts), "\n") {
			tag, usage, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if strings.HasPrefix(tag, "--help") || strings.HasPrefix(tag, "--version") {
				continue
			}
			want := strings.Join(strings.Fields(tag+" "+usage), " ")
			said[want] = true
			if !strings.Contains(man, want) {
				t.Errorf("%v: --help has %q, the manual has not", where, want)
			}
		}
		if _, rest, ok := strings.Cut(text, "DESCRIPTION:\n"); ok {
			description, _, _ := strings.Cut(rest, "\n\nOPTIONS:")
			description, _, _ = strings.Cut(description, "\n\nCOMMANDS:")
			if want := strings.Join(strings.Fields(description), " "); !strings.Contains(man, want) {
				t.Errorf("%v: the manual lacks the description %q", where, want)
			}
		}
	}
	check(help(t))
	for _, c := range app.Commands {
		text := help(t, c.Name)
		if !strings.Contains(text, c.Usage) || !strings.Contains(man, sentence(c.Usage)) {
			t.Errorf("%s: help or manual lacks %q", c.Name, c.Usage)
		}
		check(text, c.Name)
	}
	// And the other way round: no option that --help does not have.
	items := regexp.MustCompile(`(?m)^\.TP\n\.B (\\-.*)\n((?:[^.\n].*\n)+)`).FindAllStringSubmatch(manual(app), -1)
	for _, item := range items {
		if got := flat(item[1] + " " + item[2]); !said[got] {
			t.Errorf("the manual has %q, --help has not", got)
		}
	}
	if len(items) < len(said) {
		t.Errorf("%d options in the manual, %d in --help", len(items), len(said))
	}
}

// The manual names the events and the variables that user scripts get, and no
// others.
func TestUserScriptsInManual(t *testing.T) {
	source, err := os.ReadFile("../../userhooks/event.go")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile(`add\("([A-Z_]+)"|"WANFAIL_([A-Z_]+)=`).FindAllStringSubmatch(string(source), -1) {
		told["WANFAIL_"+m[1]+m[2]] = true
	}
	named := map[string]bool{}
	for _, name := range regexp.MustCompile(`WANFAIL_[A-Z_]+`).FindAllString(userScripts, -1) {
		named[name] = true
	}
	if !maps.Equal(told, named) || len(told) < 15 {
		t.Errorf("scripts are told %v, the manual names %v", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(named)))
	}
	for _, event := range []string{intent.Primary.String(), intent.Backup.String(), dhcp.LeaseBound, dhcp.LeaseChanged, dhcp.LeaseLost} {
		if !strings.Contains(userScripts, event) {
			t.Errorf("the manual does not name the event %s", event)
		}
	}
}

func TestConfigManual(t *testing.T) {
	man := flat(configManual("1.0"))
	for _, d := range config.Manual() {
		if !strings.Contains(man, d.Name+" "+d.Value+" "+strings.Join(strings.Fields(d.Text), " ")) {
			t.Errorf("the manual lacks %s", d.Name)
		}
	}
	// Its example is a configuration.
	_, example, _ := strings.Cut(configManual("1.0"), ".SH EXAMPLE\n.nf\n")
	example, _, _ = strings.Cut(example, ".fi")
	path := filepath.Join(t.TempDir(), "wanfail.conf")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(`\-`, "-", `\&`, "").Replace(example)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err != nil {
		t.Error(err)
	}
}

// No line may be taken for a request that it is not.
func TestRoff(t *testing.T) {
	for in, want := range map[string]string{".a": `\&.a`, "'a": `\&'a`, `a\b-c`: `a\eb\-c`, "x\n.y": "x\n\\&.y"} {
		if got := roff(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	requests := regexp.MustCompile(`^\.(TH|SH|SS|TP|PP|B|BR|nf|fi)( |$)`)
	for _, page := range []string{manual(command.App("1.0-rc1")), configManual("1.0")} {
		for _, line := range strings.Split(page, "\n") {
			if strings.HasPrefix(line, ".") && !requests.MatchString(line) || strings.HasPrefix(line, "'") {
				t.Errorf("line %q", line)
			}
		}
	}
}

// No other program is needed to build them, least of all the shells that read
// them: there is none to be found.
func TestWrite(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	if err := write(dir, "1.0"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"man/wanfail.8", "man/wanfail.conf.5", "completions/bash", "completions/zsh", "completions/fish"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// instanceConfig is a configuration file with two instances.
func instanceConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte("config wan a\n\toption instance 'VI_1'\nconfig wan b\n\toption\tinstance \"VI_2\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The completion is loaded by a real bash and asked.
func TestBash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(file, []byte(bash(command.App("1.0"))), 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func(words ...string) string {
		t.Helper()
		script := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wanfail; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", append([]string{"--norc", "-c", script, "bash", file, "wanfail"}, words...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	conf := instanceConfig(t)
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"notify", "G"}, "GROUP"},
		{[]string{"--config", conf, "notify", "INSTANCE", "VI"}, "VI_1 VI_2"},
		{[]string{"--config", conf, "notify", "INSTANCE", "VI_1", ""}, strings.Join(states, " ")},
		{[]string{"--config", conf, "drill", "--instance", "VI_2"}, "VI_2"},
		{[]string{"drill", "--keepalived", conf[:len(conf)-1]}, conf},
		{[]string{"primary", "--wait", ""}, ""},
		{[]string{"pri"}, "primary"},
		{[]string{"--config", "x", "sta"}, "status"},
		{[]string{"status", "--j"}, "--json"},
		{[]string{"status", "--pro"}, "--prometheus"},
		{[]string{"--log-level", "w"}, "warn"},
		{[]string{"master", "--dry"}, "--dry-run"},
		{[]string{"notify", "INSTANCE", "VI_1", "MA"}, "MASTER"},
		{[]string{"--log-level", "warn", "doctor", "--pe"}, "--peer"},
	} {
		if got := ask(c.words...); got != c.want {
			t.Errorf("%v: got %q, want %q", c.words, got, c.want)
		}
	}
	for _, c := range command.App("1.0").Commands {
		for _, n := range c.Names() {
			if got := ask(n); !strings.Contains(" "+got+" ", " "+n+" ") {
				t.Errorf("%s is not completed: %q", n, got)
			}
		}
	}
}

// Every command and option is in the completions of the other shells.
func TestOthersAreComplete(t *testing.T) {
	app := command.App("1.0")
	z, f := zsh(app), fish(app)
	for _, c := range app.Commands {
		for _, n := range c.Names() {
			if !strings.Contains(z, "'"+n+":") || !strings.Contains(f, "-a "+n+" ") {
				t.Errorf("command %s is missing", n)
			}
		}
		for _, o := range options(c.Flags) {
			for _, n := range o.names {
				long, isLong := strings.CutPrefix(n, "--")
				if !strings.Contains(z, n) || isLong && !strings.Contains(f, "-l "+long) {
					t.Errorf("option %s of %s is missing", n, c.Name)
				}
			}
		}
	}
	conf := instanceConfig(t)
	for line, want := range map[string]string{
		"pri": "primary", "status --pro": "--prometheus", "--log-level w": "warn", "notify G": "GROUP",
		"--config " + conf + " notify INSTANCE ":       "VI_1 VI_2",
		"--config " + conf + " notify INSTANCE VI_1 M": "MASTER",
		"--config " + conf + " drill --instance VI_2":  "VI_2",
	} {
		out, err := exec.Command("fish", "--no-config", "-c", f+"\ncomplete -C \"wanfail "+line+"\"").CombinedOutput()
		var got []string
		for offer := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(offer), "\t")
			got = append(got, word)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("fish on %q: %q, want %q (%v)", line, out, want, err)
		}
	}
	// zsh's own functions are there only where a person types.
	stubs := "_arguments() { }\nconfig=" + conf + "\ncompadd() { print -- $names }\n"
	if out, err := exec.Command("zsh", "-f", "-c", stubs+z+"\n_wanfail_instances").CombinedOutput(); err != nil || string(out) != "VI_1 VI_2\n" {
		t.Errorf("zsh: instances are %q (%v)", out, err)
	}
	for shell, text := range map[string]string{"zsh": z, "fish": f} { // which say whether it is well-formed
		file := filepath.Join(t.TempDir(), shell)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s -n (Debian: %s): %v: %s", shell, shell, err, out)
		}
	}
}
