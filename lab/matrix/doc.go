// Package matrix runs the built wanfail against the DHCP servers that ISPs use:
// dnsmasq, Kea, ISC dhcpd, busybox udhcpd and systemd-networkd, each from the
// lab's image, and looks at the wire and at the kernel for what came of it.
//
// A case has a line of its own: a namespace with the server and a switch, and
// one or two routers plugged into the switch. Cases mostly wait for leases to
// run, so many of them run at once.
//
// Servers that grant no lease short enough to see it expire are left out of
// that case, unless the tests are run with -long.
package matrix
