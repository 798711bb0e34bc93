package doctor

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// conntrackdConf is where its configuration is on all platforms.
const conntrackdConf = "/etc/conntrackd/conntrackd.conf"

// Conntrackd is what there is of it.
type Conntrackd struct {
	Installed, Configured, Running bool
	Failure                        string // why it does not run although it was started
	HashSize                       int    // 0: not set
	Channels                       []Channel
	Ignore, Accept                 []netip.Prefix
	Ignores, Accepts               bool // there is a list of what to ignore, or of all that is not
	Filter                         bool // there is a filter to put it into
	Windows                        bool // TCPWindowTracking
	// Unit is what systemd says of its unit; nil: not asked.
	Unit map[string]string
}

// Channel is a way to the peer.
type Channel struct {
	Kind      string // UDP, Multicast, TCP
	Interface string
	Own, To   netip.Addr // this router's address, and the destination
	Port      string
}

// conntrackd reads conntrackd.conf(5).
func (s *System) conntrackd(ctx context.Context, f *Facts) {
	c := &f.Conntrackd
	c.Installed = s.Exists("/usr/sbin/conntrackd") || s.Exists("/sbin/conntrackd")
	if !c.Installed {
		return
	}
	_, err := s.Run(ctx, "conntrackd", "-s")
	c.Running = err == nil
	if f.Systemd {
		c.Unit = s.unit(ctx, "conntrackd", "After", "StartLimitIntervalUSec", "LoadState")
	}
	var open, line, before []string // the blocks that are open, by name
	for _, text := range s.Lines(conntrackdConf) {
		text, _, _ = strings.Cut(text, "#")
		before, line = line, nil
		for _, word := range strings.Fields(spaceBraces.Replace(text)) {
			switch word {
			case "{":
				if len(line) == 0 {
					line = before
				}
				name := strings.Join(line, " ")
				open, line = append(open, name), nil
				c.block(name, len(open))
			case "}":
				open, line = open[:max(len(open)-1, 0)], nil
			default:
				line = append(line, word)
				c.setting(strings.Join(open, " "), line)
			}
		}
	}
}

func (c *Conntrackd) block(name string, depth int) {
	kind, _, _ := strings.Cut(name, " ")
	c.Configured = c.Configured || name == "Sync"
	c.Filter = c.Filter || strings.HasPrefix(name, "Filter")
	c.Ignores = c.Ignores || name == "Address Ignore"
	c.Accepts = c.Accepts || name == "Address Accept"
	if depth == 2 && slices.Contains([]string{"UDP", "Multicast", "TCP"}, kind) {
		c.Channels = append(c.Channels, Channel{Kind: kind})
	}
}

// setting takes the words of a line so far.
func (c *Conntrackd) setting(within string, line []string) {
	if len(line) != 2 {
		return
	}
	key, value := line[0], line[1]
	p, err := netip.ParsePrefix(value)
	if a, e := netip.ParseAddr(value); e == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if last := len(c.Channels) - 1; last >= 0 && strings.HasPrefix(within, "Sync "+c.Channels[last].Kind) {
		c.Channels[last].setting(key, value, p.Addr())
	}
	switch {
	case key == "TCPWindowTracking":
		c.Windows = slices.Contains([]string{"yes", "on"}, strings.ToLower(value))
	case key == "HashSize" && within == "General":
		c.HashSize, _ = strconv.Atoi(value)
	case err != nil:
	case strings.HasSuffix(within, "Address Ignore"):
		c.Ignore = append(c.Ignore, p)
	case strings.HasSuffix(within, "Address Accept"):
		c.Accept = append(c.Accept, p)
	}
}

func (c *Channel) setting(key, value string, a netip.Addr) {
	switch key {
	case "Interface":
		c.Interface = value
	case "Port", "Group":
		c.Port = value
	case "IPv4_interface", "IPv6_interface":
		c.Own = a
	case "IPv4_address", "IPv6_address":
		if c.Kind == "Multicast" {
			c.To = a
		} else {
			c.Own = a
		}
	case "IPv4_Destination_Address", "IPv6_Destination_Address":
		c.To = a
	}
}

var spaceBraces = strings.NewReplacer("{", " { ", "}", " } ")

func uncommented(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(line + "\n")
	}
	return b.String()
}

// unit is what systemd says of a unit.
func (s *System) unit(ctx context.Context, name string, properties ...string) map[string]string {
	out, err := s.Run(ctx, "systemctl", "show", name+".service", "--property="+strings.Join(properties, ","))
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all[key] = value
		}
	}
	return all
}
