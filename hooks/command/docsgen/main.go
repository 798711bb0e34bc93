// Docsgen writes the manual pages and the shell completions, from the same tree
// of commands that --help shows and the same list of options that the
// configuration file has.
//
//	go run ./hooks/command/docsgen build VERSION
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/wanfail/wanfail/hooks/command"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: docsgen DIR VERSION")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "docsgen:", err)
		os.Exit(1)
	}
}

// write puts everything below dir.
func write(dir, version string) error {
	app := command.App(version)
	for name, text := range map[string]string{
		"man/wanfail.8":      manual(app),
		"man/wanfail.conf.5": configManual(version),
		"completions/bash":   bash(app),
		"completions/zsh":    zsh(app),
		"completions/fish":   fish(app),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
