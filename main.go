// wanfail lets two routers share one DHCP-assigned WAN address. keepalived calls
// it when a router becomes master or backup; see README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/wanfail/wanfail/hooks/command"
)

// version is stamped by the linker.
var version = "dev"

func main() {
	if slices.Contains(os.Args[1:], "keeper") {
		// It would end a keeper that is not ready for it yet, and asks for what a start
		// does anyway.
		signal.Ignore(syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := command.Run(ctx, version, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
