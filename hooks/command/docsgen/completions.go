package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wanfail/wanfail/hooks/config"
)

// option is a flag as completions need it.
type option struct {
	names []string // with dashes
	usage string
	value bool
	of    string // the placeholder of its value: "FILE", "DIR", "LEVEL", "NAME" of a VRRP instance or group
}

// file reports whether the value is a file or directory.
func (o option) file() bool { return o.of == "FILE" || o.of == "DIR" }

// instances is a shell function that prints the names of `option instance` in the
// configuration files that it is given. It reads the same in all three shells.
const instances = `cat "$argv" /etc/wanfail.conf /etc/config/wanfail 2>/dev/null | tr -d "'\"" | awk '$1 == "option" && $2 == "instance" { print $3 }' | sort -u`

func options(flags []cli.Flag) (all []option) {
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquoteUsage(d.GetUsage())
		all = append(all, option{
			names: strings.Split(names(f), ", "), usage: usage, value: d.TakesValue(),
			of: placeholder,
		})
	}
	return append(all, option{names: []string{"--help", "-h"}, usage: "show help"})
}

func words(options []option) (all []string) {
	for _, o := range options {
		all = append(all, o.names...)
	}
	return all
}

func commandNames(app *cli.App) (all []string) {
	for _, c := range app.Commands {
		all = append(all, c.Names()...)
	}
	return all
}

// states are what may follow `notify TYPE NAME`.
var states = []string{"MASTER", "BACKUP", "FAULT", "STOP", "DELETED"}

// valued are the options of all commands that are followed by a value of the kind
// that is asked for.
func valued(app *cli.App, kind func(option) bool) string {
	all := options(app.Flags)
	for _, c := range app.Commands {
		all = append(all, options(c.Flags)...)
	}
	var names []string
	for _, o := range all {
		if o.value && kind(o) {
			names = append(names, o.names...)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " | ")
}

func bash(app *cli.App) string {
	var b strings.Builder
	of := func(placeholder string) func(option) bool {
		return func(o option) bool { return o.of == placeholder }
	}
	fmt.Fprintf(&b, `# bash completion for wanfail(8)
_wanfail_instances() {
	local argv=$1
	%s
}
_wanfail() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd='' config='' args=0 i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		[ "${COMP_WORDS[i]}" != --config ] || config=${COMP_WORDS[i+1]}
		case ${COMP_WORDS[i]} in
		%s) i=$((i + 1)) ;;
		-*) ;;
		*) if [ -z "$cmd" ]; then cmd=${COMP_WORDS[i]}; else args=$((args + 1)); fi ;;
		esac
	done
	case $prev in
	%s) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	%s) mapfile -t COMPREPLY < <(compgen -W '%s' -- "$cur"); return ;;
	%s) mapfile -t COMPREPLY < <(compgen -W "$(_wanfail_instances "$config")" -- "$cur"); return ;;
	%s) return ;;
	esac
	local words
	case $cmd in
	'') words='%s %s --version -v' ;;
`, instances, valued(app, func(option) bool { return true }), valued(app, option.file),
		valued(app, of("LEVEL")), strings.Join(config.LogLevels(), " "), valued(app, of("NAME")), valued(app, of("")),
		strings.Join(commandNames(app), " "), strings.Join(words(options(app.Flags)), " "))
	for _, c := range app.Commands {
		w := strings.Join(words(options(c.Flags)), " ")
		if c.Name == "notify" {
			fmt.Fprintf(&b, `	notify)
		case $args in
		0) words='%s INSTANCE GROUP' ;;
		1) words=$(_wanfail_instances "$config") ;;
		2) words='%s' ;;
		*) words='' ;;
		esac
		;;
`, w, strings.Join(states, " "))
			continue
		}
		if c.Name == "fifo" {
			fmt.Fprintf(&b, "\tfifo) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n")
			continue
		}
		fmt.Fprintf(&b, "\t%s) words='%s' ;;\n", strings.Join(c.Names(), " | "), w)
	}
	b.WriteString("\tesac\n\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\ncomplete -F _wanfail wanfail\n")
	return b.String()
}

// quoted is for single quotes in zsh and fish.
func quoted(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }

func zsh(app *cli.App) string {
	var b strings.Builder
	b.WriteString("#compdef wanfail\n# zsh completion for wanfail(8)\n" +
		"_wanfail_instances() {\n\tlocal -a names\n\tset -- $config\n\tnames=($(" + instances + "))\n\tcompadd -a names\n}\n" +
		"_wanfail() {\n\tlocal curcontext=$curcontext state line config\n\tlocal -A opt_args\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range app.Commands {
		for _, n := range c.Names() {
			fmt.Fprintf(&b, "\t\t'%s:%s'\n", n, quoted(strings.ReplaceAll(c.Usage, ":", `\:`)))
		}
	}
	b.WriteString("\t)\n\t_arguments -C \\\n")
	zshOptions(&b, "\t\t", options(app.Flags))
	b.WriteString("\t\t'(-v --version)'{-v,--version}'[print the version]' \\\n\t\t'1:command:->command' '*::argument:->argument'\n\tconfig=${opt_args[--config]}\n\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $words[1] in\n")
	for _, c := range app.Commands {
		fmt.Fprintf(&b, "\t\t%s)\n\t\t\t_arguments \\\n", strings.Join(c.Names(), "|"))
		zshOptions(&b, "\t\t\t\t", options(c.Flags))
		switch c.Name {
		case "notify":
			fmt.Fprintf(&b, "\t\t\t\t'1:type:(INSTANCE GROUP)' '2:name:_wanfail_instances' '3:state:(%s)' '4:priority:'\n", strings.Join(states, " "))
		case "fifo":
			b.WriteString("\t\t\t\t'1:FIFO:_files'\n")
		default:
			b.WriteString("\t\t\t\t&& return\n")
		}
		b.WriteString("\t\t\t;;\n")
	}
	b.WriteString("\t\tesac ;;\n\tesac\n}\n_wanfail \"$@\"\n")
	return b.String()
}

func zshOptions(b *strings.Builder, indent string, all []option) {
	for _, o := range all {
		value := ""
		switch {
		case o.file():
			value = ":file:_files"
		case o.of == "LEVEL":
			value = ":level:(" + strings.Join(config.LogLevels(), " ") + ")"
		case o.of == "NAME":
			value = ":name:_wanfail_instances"
		case o.value:
			value = ":value:"
		}
		usage := quoted(strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(o.usage))
		if len(o.names) == 1 {
			fmt.Fprintf(b, "%s'%s[%s]%s' \\\n", indent, o.names[0], usage, value)
			continue
		}
		fmt.Fprintf(b, "%s'(%s)'{%s}'[%s]%s' \\\n", indent, strings.Join(o.names, " "), strings.Join(o.names, ","), usage, value)
	}
}

func fish(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# fish completion for wanfail(8)
function __wanfail_instances
	set -l words (commandline -opc)
	set -l at (contains -i -- --config $words)
	and set -a argv $words[(math $at + 1)]
	%s
end
# of which argument it is the turn, the command's name and options left out
function __wanfail_at
	set -l words (string match -v -- '-*' (commandline -opc))
	set -l at (contains -i -- $argv[1] $words)
	and test (math (count $words) - $at) = $argv[2]
end
complete -c wanfail -f
`, instances)
	fishOptions(&b, "__fish_use_subcommand", append(options(app.Flags), option{names: []string{"--version", "-v"}, usage: "print the version"}))
	for _, c := range app.Commands {
		for _, n := range c.Names() {
			fmt.Fprintf(&b, "complete -c wanfail -n __fish_use_subcommand -a %s -d '%s'\n", n, fishQuoted(c.Usage))
		}
		seen := "__fish_seen_subcommand_from " + strings.Join(c.Names(), " ")
		fishOptions(&b, seen, options(c.Flags))
		switch c.Name {
		case "notify":
			for at, words := range []string{"INSTANCE GROUP", "(__wanfail_instances)", strings.Join(states, " ")} {
				fmt.Fprintf(&b, "complete -c wanfail -n '__wanfail_at notify %d' -a '%s'\n", at, words)
			}
		case "fifo":
			fmt.Fprintf(&b, "complete -c wanfail -n '%s' -F\n", seen)
		}
	}
	return b.String()
}

func fishOptions(b *strings.Builder, when string, all []option) {
	for _, o := range all {
		fmt.Fprintf(b, "complete -c wanfail -n '%s'", when)
		for _, n := range o.names {
			if long, ok := strings.CutPrefix(n, "--"); ok {
				fmt.Fprintf(b, " -l %s", long)
			} else {
				fmt.Fprintf(b, " -s %s", n[1:])
			}
		}
		switch {
		case o.file():
			b.WriteString(" -r -F")
		case o.of == "LEVEL":
			fmt.Fprintf(b, " -x -a '%s'", strings.Join(config.LogLevels(), " "))
		case o.of == "NAME":
			b.WriteString(" -x -a '(__wanfail_instances)'")
		case o.value:
			b.WriteString(" -x")
		}
		fmt.Fprintf(b, " -d '%s'\n", fishQuoted(o.usage))
	}
}

func fishQuoted(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
