package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/services"
)

// builder collects the mistakes of a file.
type builder struct {
	path string
	errs []error
}

func (b *builder) fail(line int, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s:%d: %s", b.path, line, fmt.Sprintf(format, args...)))
}

// build turns sections into a Config.
func build(sections []Section, path string) (Config, error) {
	b := &builder{path: path}
	cfg := Config{Services: DefaultServices()}
	globals := 0
	for _, s := range sections {
		switch s.Type {
		case "wanfail":
			if globals++; globals > 1 {
				b.fail(s.Line, "a second section 'wanfail'; put all of it into one")
			}
			b.globals(s, &cfg)
		case "wan":
			if w, ok := b.wan(s); ok {
				b.unique(s, cfg.WANs, w)
				cfg.WANs = append(cfg.WANs, w)
			}
		default:
			b.fail(s.Line, "unknown section type %q; want 'wanfail' or 'wan'", s.Type)
		}
	}
	if len(cfg.WANs) == 0 && len(b.errs) == 0 {
		b.errs = append(b.errs, fmt.Errorf("%s: no section 'config wan NAME': nothing to fail over", path))
	}
	return cfg, errors.Join(b.errs...)
}

// setter stores one value.
type setter func(value string) error

// apply gives each option of s to its setter. Options may stand once, unless
// they are in lists.
func (b *builder) apply(s Section, set map[string]setter, lists ...string) {
	seen := map[string]bool{}
	for _, o := range s.Options {
		f, known := set[o.Name]
		list := slices.Contains(lists, o.Name)
		switch {
		case !known:
			b.fail(o.Line, "unknown option %q in section '%s'", o.Name, s.Type)
		case o.List && !list:
			b.fail(o.Line, "option %q takes one value: write 'option', not 'list'", o.Name)
		case seen[o.Name] && !list:
			b.fail(o.Line, "option %q stands twice in this section", o.Name)
		default:
			seen[o.Name] = true
			if err := f(o.Value); err != nil {
				b.fail(o.Line, "option %s %q: %v", o.Name, o.Value, err)
			}
		}
	}
}

func (b *builder) globals(s Section, cfg *Config) {
	b.apply(s, map[string]setter{
		"service": func(v string) error {
			if !cfg.ServicesNamed {
				cfg.ServicesNamed, cfg.Services = true, nil
			}
			for _, name := range strings.Fields(v) {
				if name == "none" {
					continue
				}
				if err := services.ValidName(name); err != nil {
					return fmt.Errorf("want the name of an init script or systemd unit: %w", err)
				}
				if !slices.Contains(cfg.Services, name) {
					cfg.Services = append(cfg.Services, name)
				}
			}
			return nil
		},
		"conntrackd": func(v string) error {
			switch v {
			case "auto", "":
				cfg.Conntrackd = Auto
			case "0":
				cfg.Conntrackd = Off
			case "1":
				cfg.Conntrackd = On
			default:
				return errors.New("want auto, 0 or 1")
			}
			return nil
		},
		"log_level": func(v string) error {
			if !slices.Contains(LogLevels(), v) {
				return fmt.Errorf("want one of %s", strings.Join(LogLevels(), ", "))
			}
			return cfg.LogLevel.UnmarshalText([]byte(v))
		},
		"backup_gateway": func(v string) (err error) {
			if v == "" {
				return nil
			}
			if cfg.BackupGateway, err = netip.ParseAddr(v); err != nil || !cfg.BackupGateway.Is4() {
				return errors.New("want an IPv4 address, as 192.168.1.1")
			}
			return nil
		},
	}, "service")
}

func (b *builder) wan(s Section) (WAN, bool) {
	w := WAN{Name: s.Name, DefaultRoute: true, PeerDNS: true, ARPInterval: 2 * time.Minute}
	before := len(b.errs)
	// client stores what the DHCP client sends and checks it as the client does, so
	// that what loads can be started.
	client := func(set setter) setter {
		return func(v string) error {
			was := w.DHCP
			err := set(v)
			if err == nil {
				err = w.DHCP.ValidateOptions()
			}
			if err != nil {
				w.DHCP = was
			}
			return err
		}
	}
	if err := linkName(w.Name); err != nil {
		b.fail(s.Line, "section name is the interface's name: %v", err)
	}
	b.apply(s, map[string]setter{
		"parent":       func(v string) error { w.Parent = v; return linkName(v) },
		"macaddr":      func(v string) (err error) { w.MAC, err = parseMAC(v); return err },
		"instance":     instance(&w.Instance),
		"metric":       number(&w.Metric, 0, 1<<31-1),
		"hostname":     client(text(&w.DHCP.Hostname)),
		"vendorclass":  client(text(&w.DHCP.VendorClass)),
		"userclass":    client(text(&w.DHCP.UserClass)),
		"clientid":     client(func(v string) (err error) { w.DHCP.ClientID, err = parseHex(v); return err }),
		"peerdns":      boolean(&w.PeerDNS),
		"defaultroute": boolean(&w.DefaultRoute),
		"broadcast":    boolean(&w.DHCP.Broadcast),
		"rapidcommit":  boolean(&w.DHCP.RapidCommit),
		"priority":     number(&w.DHCP.Priority, 0, 7),
		"request":      client(func(v string) error { return addCodes(&w.DHCP.Request, v) }),
		"sendopt":      client(func(v string) error { return addOptions(&w.DHCP.Send, v) }),
		"expect": func(v string) (err error) {
			if v == "" {
				return nil
			}
			if w.DHCP.Expect, err = netip.ParsePrefix(v); err != nil || !w.DHCP.Expect.Addr().Is4() {
				return errors.New("want an IPv4 prefix, as 203.0.113.0/24")
			}
			return nil
		},
		"mtu": func(v string) error {
			if v == "" || v == "auto" {
				return nil
			}
			return number(&w.MTU, 576, 65535)(v)
		},
		"arp_interval": func(v string) error {
			var seconds int
			if err := number(&seconds, 0, 86400)(v); err != nil {
				return err
			}
			w.ARPInterval = time.Duration(seconds) * time.Second
			return nil
		},
	}, "request", "sendopt")
	if len(b.errs) > before {
		return w, false
	}
	if w.Parent == "" {
		b.fail(s.Line, "wan '%s' has no option 'parent': the device that the cable to the ISP is in", w.Name)
	}
	if w.MAC == nil {
		b.fail(s.Line, "wan '%s' has no option 'macaddr': the MAC address that both routers share", w.Name)
	}
	if w.Parent == w.Name {
		b.fail(s.Line, "wan '%s' is its own parent: the interface needs a name of its own", w.Name)
	}
	w.DHCP.Interface, w.DHCP.MAC = w.Name, w.MAC
	if len(b.errs) == before {
		if err := w.DHCP.Validate(); err != nil {
			b.fail(s.Line, "wan '%s': %v", w.Name, err)
		}
	}
	return w, len(b.errs) == before
}

// unique refuses a WAN that would collide with an earlier one.
func (b *builder) unique(s Section, have []WAN, w WAN) {
	for _, o := range have {
		if o.Name == w.Name {
			b.fail(s.Line, "a second wan '%s'", w.Name)
		} else if o.Parent == w.Parent && bytes.Equal(o.MAC, w.MAC) {
			b.fail(s.Line, "wan '%s' has the same macaddr on the same parent as wan '%s'", w.Name, o.Name)
		}
	}
}

// word reports whether v is made of letters, digits, underscores and the extra
// characters, none of which may come first. (Regular expressions would be compiled
// at each start of the program: a millisecond that every hook would pay.)
func word(v, extra string) bool {
	for i, c := range []byte(v) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && strings.IndexByte(extra, c) >= 0:
		default:
			return false
		}
	}
	return v != ""
}

// linkName follows the kernel's dev_valid_name, and refuses what would be an
// option or a wildcard to some tool.
func linkName(v string) error {
	switch {
	case v == "":
		return errors.New("want an interface name")
	case len(v) > 15:
		return fmt.Errorf("%q is longer than the 15 bytes of an interface name", v)
	case v == "lo" || v == "all" || v == "default" || !word(v, ".-"):
		return fmt.Errorf("%q is no name for an interface", v)
	}
	return nil
}

func parseMAC(v string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(v)
	switch {
	case err != nil || len(mac) != 6:
		return nil, errors.New("want a MAC address, as 02:68:71:2e:62:67")
	case mac[0]&1 != 0:
		return nil, errors.New("a multicast address cannot be an interface's: the first byte must be even")
	case bytes.Equal(mac, make([]byte, 6)):
		return nil, errors.New("the all-zero address cannot be an interface's")
	}
	return mac, nil
}

// text accepts what may go into a DHCP option or a comparison: no control
// characters, since some of it is shown to people.
func text(dst *string) setter {
	return func(v string) error {
		if strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return errors.New("unprintable character")
		}
		*dst = v
		return nil
	}
}

// instance accepts what keepalived can call an instance or a sync group.
func instance(dst *string) setter {
	return func(v string) error {
		*dst = v
		if v == "" {
			return nil
		}
		return intent.ValidScope(v)
	}
}

func number(dst *int, low, high int) setter {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("want a number from %d to %d", low, high)
		}
		*dst = n
		return nil
	}
}

// boolean takes the words that UCI's config_get_bool takes.
func boolean(dst *bool) setter {
	return func(v string) error {
		switch v {
		case "1", "on", "true", "yes", "enabled":
			*dst = true
		case "0", "off", "false", "no", "disabled":
			*dst = false
		default:
			return errors.New("want 0 or 1")
		}
		return nil
	}
}

// parseHex takes bytes in hexadecimal, with or without colons.
func parseHex(v string) ([]byte, error) {
	data, err := hex.DecodeString(strings.ReplaceAll(v, ":", ""))
	if err != nil {
		return nil, errors.New("want bytes in hexadecimal, as 01:02:68:71:2e:62:67")
	}
	if len(data) == 0 {
		return nil, nil
	}
	return data, nil
}

func parseCode(v string) (uint8, error) {
	code, err := strconv.ParseUint(v, 10, 8)
	if err != nil || code == 0 || code == 255 {
		return 0, fmt.Errorf("%q is no DHCP option; want a number from 1 to 254", v)
	}
	return uint8(code), nil
}

func addCodes(dst *[]uint8, v string) error {
	for _, word := range strings.Fields(v) {
		code, err := parseCode(word)
		if err != nil {
			return err
		}
		if !slices.Contains(*dst, code) {
			*dst = append(*dst, code)
		}
	}
	return nil
}

func addOptions(dst *[]dhcp.Option, v string) error {
	for _, word := range strings.Fields(v) {
		number, value, ok := strings.Cut(word, ":")
		code, err := parseCode(number)
		if err != nil || !ok {
			return errors.New("want CODE:HEX, as 90:0000000000")
		}
		data, err := parseHex(value)
		if err != nil {
			return err
		}
		*dst = append(*dst, dhcp.Option{Code: code, Data: data})
	}
	return nil
}
