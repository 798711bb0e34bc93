// wanfail lets two routers share one DHCP-assigned WAN address. keepalived calls
// it when a router becomes master or backup; see README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/wanfail/wanfail/hooks/command"
)

// version is stamped by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := command.Run(ctx, version, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
