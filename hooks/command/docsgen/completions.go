package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// option is a flag as completions need it.
type option struct {
	names []string // with dashes
	usage string
	value bool
	file  bool // the value is a file or directory
}

func options(flags []cli.Flag) (all []option) {
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		placeholder, usage := unquoteUsage(d.GetUsage())
		all = append(all, option{
			names: strings.Split(names(f), ", "), usage: usage, value: d.TakesValue(),
			file: placeholder == "FILE" || placeholder == "DIR",
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

func bash(app *cli.App) string {
	var b strings.Builder
	global := options(app.Flags)
	var valued []string
	for _, o := range global {
		if o.value {
			valued = append(valued, o.names...)
		}
	}
	fmt.Fprintf(&b, `# bash completion for wanfail(8)
_wanfail() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd='' i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		%s) i=$((i + 1)) ;;
		-*) ;;
		*) cmd=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $prev in
	--config | --run-dir | --peer) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error' -- "$cur"); return ;;
	esac
	local words
	case $cmd in
	'') words='%s %s --version -v' ;;
`, strings.Join(valued, " | "), strings.Join(commandNames(app), " "), strings.Join(words(global), " "))
	for _, c := range app.Commands {
		w := strings.Join(words(options(c.Flags)), " ")
		if c.Name == "notify" {
			w += " INSTANCE GROUP " + strings.Join(states, " ")
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
	b.WriteString("#compdef wanfail\n# zsh completion for wanfail(8)\n_wanfail() {\n\tlocal curcontext=$curcontext state line\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range app.Commands {
		for _, n := range c.Names() {
			fmt.Fprintf(&b, "\t\t'%s:%s'\n", n, quoted(strings.ReplaceAll(c.Usage, ":", `\:`)))
		}
	}
	b.WriteString("\t)\n\t_arguments -C \\\n")
	zshOptions(&b, "\t\t", options(app.Flags))
	b.WriteString("\t\t'(-v --version)'{-v,--version}'[print the version]' \\\n\t\t'1:command:->command' '*::argument:->argument'\n\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $words[1] in\n")
	for _, c := range app.Commands {
		fmt.Fprintf(&b, "\t\t%s)\n\t\t\t_arguments \\\n", strings.Join(c.Names(), "|"))
		zshOptions(&b, "\t\t\t\t", options(c.Flags))
		switch c.Name {
		case "notify":
			fmt.Fprintf(&b, "\t\t\t\t'1:type:(INSTANCE GROUP)' '2:name:' '3:state:(%s)' '4:priority:'\n", strings.Join(states, " "))
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
		case o.file:
			value = ":file:_files"
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
	b.WriteString("# fish completion for wanfail(8)\ncomplete -c wanfail -f\n")
	fishOptions(&b, "__fish_use_subcommand", append(options(app.Flags), option{names: []string{"--version", "-v"}, usage: "print the version"}))
	for _, c := range app.Commands {
		for _, n := range c.Names() {
			fmt.Fprintf(&b, "complete -c wanfail -n __fish_use_subcommand -a %s -d '%s'\n", n, fishQuoted(c.Usage))
		}
		seen := "__fish_seen_subcommand_from " + strings.Join(c.Names(), " ")
		fishOptions(&b, seen, options(c.Flags))
		switch c.Name {
		case "notify":
			fmt.Fprintf(&b, "complete -c wanfail -n '%s' -a 'INSTANCE GROUP %s'\n", seen, strings.Join(states, " "))
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
		case o.file:
			b.WriteString(" -r -F")
		case o.value:
			b.WriteString(" -x")
		}
		fmt.Fprintf(b, " -d '%s'\n", fishQuoted(o.usage))
	}
}

func fishQuoted(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
