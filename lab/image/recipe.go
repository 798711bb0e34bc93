package image

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Suite is the Debian release of the image.
const Suite = "bookworm"

// packages is what the image holds beyond Debian's minimal base: the daemons
// that a router of the lab runs, the DHCP servers that stand in for an ISP, and
// the DHCP clients that wanfail is measured against.
var packages = []string{
	// the system
	"systemd", "systemd-sysv", "dbus", "systemd-resolved", "udev", "procps", "busybox",
	// the network
	"iproute2", "iputils-ping", "iptables", "nftables", "tcpdump",
	// a router
	"keepalived", "dnsmasq", "miniupnpd", "miniupnpd-nftables", "miniupnpc", "conntrackd", "conntrack",
	// an ISP
	"kea-dhcp4-server", "isc-dhcp-server", "udhcpd",
	// the competition
	"isc-dhcp-client", "udhcpc", "dhcpcd-base",
}

// finish runs inside the new image once all packages are configured.
//
//go:embed finish.sh
var finish string

// dpkgConfig is in the image before the first package is: no fsync for each
// file (a build that dies is thrown away as a whole) and no documentation.
const dpkgConfig = `force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
`

// Key names the image that this recipe makes: any change of the recipe gives
// another key, and with it another image.
func Key() string {
	h := sha256.New()
	sorted := slices.Sorted(slices.Values(packages))
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n%s", Suite, runtime.GOARCH, strings.Join(sorted, "\n"), dpkgConfig, finish)
	return Suite + "-" + runtime.GOARCH + "-" + hex.EncodeToString(h.Sum(nil))[:12]
}
