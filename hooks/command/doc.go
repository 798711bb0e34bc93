// Package command is wanfail's command line: the tree of commands with their
// flags and texts, and what each of them does with the packages beside it. The
// manual pages and completions are generated from the same tree.
package command
