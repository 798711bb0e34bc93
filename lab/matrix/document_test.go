package matrix

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// document is docs/dhcp-packets.md.
func document(all []comparison, versions map[string]string) string {
	var b strings.Builder
	b.WriteString(docHead)
	packages := map[string]string{"udhcpc": "udhcpc", "dhclient": "isc-dhcp-client", "dhcpcd": "dhcpcd-base"}
	b.WriteString("| client | version | started as |\n|---|---|---|\n")
	for _, c := range all {
		version := "this one"
		if p := packages[c.name]; p != "" {
			version = "Debian " + versions[p]
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.name, version, c.what)
	}
	fmt.Fprintf(&b, "\nThe server is dnsmasq %s on the same switch.\n", versions["dnsmasq"])

	b.WriteString("\n## An acquisition\n\n")
	b.WriteString("Without a remembered lease (first) and with the lease of a moment ago (again). Times are the median of seven, from the start of the client to the address in the kernel.\n\n")
	row(&b, all, "", func(c comparison) string { return c.name })
	b.WriteString(strings.Repeat("|---", len(all)+1) + "|\n")
	row(&b, all, "first: DHCP packets sent", func(c comparison) string { return phaseList(c.cold[0].messages) })
	row(&b, all, "first: ARP packets before the address", func(c comparison) string { return fmt.Sprint(c.cold[0].arp) })
	row(&b, all, "first: start to address", func(c comparison) string { return median(c.cold) })
	row(&b, all, "again: DHCP packets sent", func(c comparison) string { return phaseList(c.warm[0].messages) })
	row(&b, all, "again: address before the first packet (± 1 ms)", func(c comparison) string {
		if slices.IndexFunc(c.warm, func(a acquisition) bool { return a.took < a.first }) >= 0 {
			return "yes"
		}
		return "no"
	})
	row(&b, all, "again: start to address", func(c comparison) string { return median(c.warm) })

	for i, title := range []string{"DISCOVER", "REQUEST of SELECTING"} {
		pick := func(c comparison) message { return c.cold[0].messages[i] }
		fmt.Fprintf(&b, "\n## The %s\n\n", title)
		row(&b, all, "", func(c comparison) string { return c.name })
		b.WriteString(strings.Repeat("|---", len(all)+1) + "|\n")
		row(&b, all, "broadcast flag", func(c comparison) string { return yes(pick(c).m.IsBroadcast()) })
		row(&b, all, "IP DSCP and ECN, TTL, DF", func(c comparison) string {
			tos, ttl, df, _ := pick(c).header()
			return fmt.Sprintf("0x%02x, %d, %s", tos, ttl, yes(df))
		})
		row(&b, all, "UDP checksum", func(c comparison) string {
			_, _, _, sum := pick(c).header()
			return yes(sum)
		})
		row(&b, all, "bytes of the frame", func(c comparison) string { return fmt.Sprint(len(pick(c).Data)) })
		row(&b, all, "options, in order", func(c comparison) string { return numbers(pick(c).codes()) })
		row(&b, all, "asks for (55), in order", func(c comparison) string { return numbers(pick(c).m.Options[55]) })
		for _, code := range codesOf(all, i) {
			if code == 53 || code == 55 {
				continue
			}
			row(&b, all, optionName(code), func(c comparison) string { return optionValue(pick(c), code) })
		}
	}
	b.WriteString(docTail)
	return b.String()
}

func row(b *strings.Builder, all []comparison, name string, value func(comparison) string) {
	fmt.Fprintf(b, "| %s |", name)
	for _, c := range all {
		fmt.Fprintf(b, " %s |", value(c))
	}
	b.WriteByte('\n')
}

func yes(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func phaseList(messages []message) string {
	names := make([]string, 0, len(messages))
	for _, m := range messages {
		names = append(names, m.phase())
	}
	return fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", "))
}

func median(all []acquisition) string {
	times := make([]time.Duration, 0, len(all))
	for _, a := range all {
		times = append(times, a.took)
	}
	slices.Sort(times)
	m := times[len(times)/2]
	if m >= time.Second {
		return fmt.Sprintf("%.1f s", m.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(m)/float64(time.Millisecond))
}

func numbers(codes []byte) string {
	parts := make([]string, 0, len(codes))
	for _, c := range codes {
		parts = append(parts, fmt.Sprint(c))
	}
	return strings.Join(parts, " ")
}

// codesOf are the options that any client sends in its i-th message.
func codesOf(all []comparison, i int) (codes []uint8) {
	for _, c := range all {
		codes = append(codes, c.cold[0].messages[i].codes()...)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func optionName(code uint8) string {
	names := map[uint8]string{
		12: "host name", 50: "requested address", 54: "server identifier", 57: "maximum message size", 60: "vendor class",
		61: "client identifier", 80: "rapid commit", 116: "auto-configuration", 145: "forcerenew nonce",
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, names[code]))
}

// optionValue is the value where it is the same each time, and only that there
// is one where it depends on the computer.
func optionValue(m message, code uint8) string {
	v, there := m.m.Options[code]
	switch {
	case !there:
		return "-"
	case code == 12 || code == 60:
		return "sent"
	case code == 61 && len(v) == 7 && v[0] == 1:
		return "type 1 and the MAC"
	case code == 61:
		return fmt.Sprintf("type %d, %d bytes", v[0], len(v))
	case code == 57:
		return fmt.Sprint(int(v[0])<<8 | int(v[1]))
	case code == 50 || code == 54:
		return "sent"
	case len(v) == 0:
		return "sent, empty"
	}
	return fmt.Sprintf("%x", v)
}

const docHead = `# The packets of a DHCP client, compared

What wanfail puts on the wire to get an address, beside the clients that it stands in for.
All of this is measured, by ` + "`go test ./lab/matrix -run TestPackets -update`" + `, which writes this file; without
` + "`-update`" + ` the test compares (all but the times) and fails when it is no longer true.

`

const docTail = `
## Why wanfail's are as they are

- **No delay before the first DISCOVER.** RFC 2131 4.4.1 wants one to ten seconds so that a town that gets its power back does
  not transmit at once. A failover is one router transmitting in place of another.
- **No ARP before the address.** A probe (4.4.1, RFC 5227) costs seconds, and the other router may have held the address a moment ago
  with this very MAC. The gratuitous ARP comes after the address, when there is something to announce.
- **The message type comes first**, where some servers look for it, and in the list of requests 121 stands before 33 and 3, which RFC 3442 wants.
- **No client identifier unless configured.** The server then goes by the MAC, which both routers share. dhcpcd and networkd make one up from
  the machine, so two routers would be two clients. Where an ISP wants one, ` + "`option clientid`" + ` gives both the same.
- **57 is the MTU of Ethernet less 28**: the option counts the DHCP message alone, without IP and UDP.
- **108 is not asked for.** To ask is to agree to being left without IPv4 (RFC 8925 3.2).
- **No vendor class unless configured.** A version number in option 60 would make two routers with different versions two clients to some servers.
- **At least 300 bytes of DHCP message**, the size of BOOTP (RFC 951), for relays that drop shorter ones.
- **The broadcast flag is off** unless configured: answers come by unicast to a MAC that is there, and the packet socket takes either.
- **A remembered lease is used before it is confirmed**, and one REQUEST of INIT-REBOOT asks whether it still holds (3.2). A NAK takes it back.
- **RENEW is unicast from the leased address, REBIND broadcast** (4.4.5), both through a UDP socket bound to the device.
  DISCOVER and the REQUESTs without an address go through a packet socket that is open only while an answer is awaited.
- **The next try** comes after 4, 8, 16, 32 and then 64 s, each give or take one (4.1). After an ACK nothing is sent until T1.
- **Never a RELEASE** but by ` + "`wanfail release`" + `: the other router needs the lease. OpenWrt's netifd starts udhcpc with -R unless told otherwise, which
  releases on each ` + "`ifdown`" + `.
`
