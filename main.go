package main

import (
	_ "github.com/coreos/go-systemd/v22/dbus"
	_ "github.com/insomniacslk/dhcp/dhcpv4"
	_ "github.com/mdlayher/packet"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/urfave/cli/v2"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "go.uber.org/goleak"
	_ "golang.org/x/net/bpf"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
)

func main() {}
