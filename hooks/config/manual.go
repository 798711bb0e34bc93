package config

import "strings"

// LogLevels are those that can be chosen.
func LogLevels() []string { return []string{"debug", "info", "warn", "error"} }

// Doc describes one option, for the manual.
type Doc struct {
	Section string // "wanfail" or "wan"
	Name    string
	List    bool   // may be given several times, as a list
	Value   string // what stands for the value
	Default string // "": none
	Text    string
}

// Manual describes all options, in the order of the manual.
func Manual() []Doc {
	return []Doc{
		{"wanfail", "service", true, "NAME", "dnsmasq odhcpd miniupnpd, those that are installed and not switched off by their own configuration", "A service that runs while this router is primary and is stopped otherwise: the name of a systemd unit or init script. Each that is named must be installed. 'none' for no services."},
		{"wanfail", "conntrackd", false, "auto|0|1", "auto", "Whether conntrackd replicates connections, so that they survive: its table is committed before the address can receive a packet, and its replication is cut before the address goes. 'auto' if it is configured."},
		{"wanfail", "backup_gateway", false, "ADDRESS", "", "A default route by way of this address while backup, usually the virtual address that the primary holds on the LAN, so that the backup can resolve names and update itself. Only what the router sends itself takes it; it is in a routing table of its own (`ip rule` shows the way to it)."},
		{"wanfail", "log_level", false, strings.Join(LogLevels(), "|"), "info", "What the keeper logs: at info a line for each transition and each change of a lease, at debug everything it does. --log-level on its command line wins."},

		{"wan", "parent", false, "INTERFACE", "", "The port towards the ISP, on which the WAN is made. It should have no address and no other user. Required."},
		{"wan", "macaddr", false, "MAC", "", "The MAC address that both routers share, by which the ISP knows them as one. A unicast address; one whose first byte is 02 belongs to nobody. Required."},
		{"wan", "instance", false, "NAME", "any", "The VRRP instance or sync group that drives this WAN, where several do. Needs hooks that carry the name: notify, or the FIFO."},
		{"wan", "metric", false, "NUMBER", "0", "The metric of the WAN's routes."},
		{"wan", "defaultroute", false, "0|1", "1", "Whether to use the default route of the lease."},
		{"wan", "peerdns", false, "0|1", "1", "Whether to use the name servers of the lease."},
		{"wan", "hostname", false, "TEXT", "", "DHCP option 12. The same on both routers, as all that the ISP sees."},
		{"wan", "vendorclass", false, "TEXT", "", "DHCP option 60."},
		{"wan", "userclass", false, "TEXT", "", "DHCP option 77, one class."},
		{"wan", "clientid", false, "HEX", "", "DHCP option 61 in hexadecimal, its type byte first, as 01:02:68:71:2e:62:67. Without it none is sent and the server goes by the MAC address."},
		{"wan", "broadcast", false, "0|1", "0", "Ask for answers by broadcast, for servers and relays that cannot send to an address that is not there yet."},
		{"wan", "rapidcommit", false, "0|1", "0", "Accept a lease in answer to the first packet (RFC 4039), where the server offers that."},
		{"wan", "request", true, "NUMBER", "", "One more DHCP option to ask for. What the server sends is for user scripts (WANFAIL_OPTION_n, in hexadecimal) and in 'wanfail status --json'."},
		{"wan", "sendopt", true, "NUMBER:HEX", "", "One more DHCP option to send, as 90:00ff. It replaces wanfail's own of that number."},
		{"wan", "priority", false, "0-7", "0", "The socket priority of DHCP frames, which a VLAN parent maps to an 802.1p priority (egress-qos-map)."},
		{"wan", "expect", false, "PREFIX", "", "Where the leased address must be. One elsewhere is refused, and another is asked for: the modem may be answering itself. Whatever this says, an address in another network of the router is refused, and routes into such a network are left out."},
		{"wan", "mtu", false, "auto|NUMBER", "auto", "The MTU of the WAN: 'auto' is what the lease says (DHCP option 26), a number replaces that, as where an operator sends 576 by mistake. Never more than the parent's."},
		{"wan", "arp_interval", false, "SECONDS", "120", "The time between two ARP requests to the gateway. They keep its and the switches' tables right and tell whether it answers. One that does not is asked each 5 seconds. 0: none."},
	}
}
