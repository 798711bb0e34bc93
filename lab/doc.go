// Package lab builds, on one computer and without leaving a trace on it, the
// network that wanfail is for:
//
//	       internet 198.51.100.10
//	          |
//	         isp  203.0.114.1, DHCP server
//	          |
//	 [ switch "isp" ]
//	  |eth2        |eth2     parent of the WAN; only the master transmits
//	ar0 --eth3--- ar1        routers: keepalived, dnsmasq, miniupnpd, conntrackd
//	  |eth1        |eth1     192.168.77.2 and .3, virtual .1
//	 [ switch "lan" ]
//	          |
//	        client 192.168.77.100
//
// Each machine is a network namespace, a process tree and a root file system of
// its own out of one Debian image; routers boot its systemd or run without. The
// switches are in the namespace of the lab itself, where each of their ports can
// be cut and listened to.
//
// Main must be the first call of a program that uses the package.
package lab
