package dhcp

import (
	"bytes"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/bpf"
)

// RFC 2131 4.3.6, table 4 and table 5: which fields each message has.
func TestEncodeFields(t *testing.T) {
	addr, server := ip("192.0.2.100"), ip("192.0.2.1")
	for _, c := range []struct {
		req       request
		kind      dhcpv4.MessageType
		ciaddr    string
		requested string // option 50
		server    string // option 54
		params    bool   // option 55, 57 and the rest of the identity
	}{
		{request{kind: discover}, dhcpv4.MessageTypeDiscover, "0.0.0.0", "", "", true},
		{request{kind: discover, addr: addr}, dhcpv4.MessageTypeDiscover, "0.0.0.0", "192.0.2.100", "", true},
		{request{kind: selectOffer, addr: addr, server: server}, dhcpv4.MessageTypeRequest, "0.0.0.0", "192.0.2.100", "192.0.2.1", true},
		{request{kind: reboot, addr: addr}, dhcpv4.MessageTypeRequest, "0.0.0.0", "192.0.2.100", "", true},
		{request{kind: renew, addr: addr, server: server}, dhcpv4.MessageTypeRequest, "192.0.2.100", "", "", true},
		{request{kind: rebind, addr: addr, server: server}, dhcpv4.MessageTypeRequest, "192.0.2.100", "", "", true},
		{request{kind: release, addr: addr, server: server}, dhcpv4.MessageTypeRelease, "192.0.2.100", "", "192.0.2.1", false},
	} {
		t.Run(c.req.kind.String(), func(t *testing.T) {
			cfg := testConfig()
			cfg.Hostname, cfg.VendorClass, cfg.UserClass = "ar0", "vendor", "gold"
			cfg.ClientID, cfg.Broadcast = []byte{0xff, 1, 2, 3}, true
			c.req.xid, c.req.secs = 0x01020304, 7*time.Second
			b := cfg.encode(c.req)
			p, err := dhcpv4.FromBytes(b)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) < minMessage || b[offOptions] != 53 {
				t.Errorf("%d bytes, first option %d", len(b), b[offOptions])
			}
			if p.OpCode != dhcpv4.OpcodeBootRequest || p.MessageType() != c.kind || p.TransactionID != (dhcpv4.TransactionID{1, 2, 3, 4}) ||
				p.NumSeconds != 7 || !bytes.Equal(p.ClientHWAddr, testMAC) || p.ClientIPAddr.String() != c.ciaddr {
				t.Errorf("header %v", p)
			}
			if held := c.ciaddr != "0.0.0.0"; p.IsBroadcast() == held {
				t.Errorf("broadcast flag %v", p.IsBroadcast())
			}
			ipOption := func(code dhcpv4.OptionCode) string {
				if v := p.Options.Get(code); v != nil {
					return net.IP(v).String()
				}
				return ""
			}
			if got := ipOption(dhcpv4.OptionRequestedIPAddress); got != c.requested {
				t.Errorf("option 50 is %q", got)
			}
			if got := ipOption(dhcpv4.OptionServerIdentifier); got != c.server {
				t.Errorf("option 54 is %q", got)
			}
			if !bytes.Equal(p.Options.Get(dhcpv4.OptionClientIdentifier), cfg.ClientID) {
				t.Error("no client identifier")
			}
			for _, code := range []dhcpv4.OptionCode{
				dhcpv4.OptionParameterRequestList, dhcpv4.OptionMaximumDHCPMessageSize, dhcpv4.OptionHostName,
				dhcpv4.OptionClassIdentifier, dhcpv4.OptionUserClassInformation,
			} {
				if p.Options.Has(code) != c.params {
					t.Errorf("option %v: %v", code, !c.params)
				}
			}
			if size, err := p.MaxMessageSize(); c.params && (err != nil || size != 1472) {
				t.Errorf("option 57 is %d", size)
			}
			if c.params && string(p.Options.Get(dhcpv4.OptionUserClassInformation)) != "\x04gold" {
				t.Error("option 77 is not an RFC 3004 list")
			}
		})
	}
}

func TestEncodeChoices(t *testing.T) {
	parse := func(c *Config, r request) *dhcpv4.DHCPv4 {
		p, err := dhcpv4.FromBytes(c.encode(r))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	cfg := testConfig()
	cfg.Request = []uint8{125, 3, 108}
	p := parse(cfg, request{kind: discover, secs: 40 * time.Hour})
	if size, _ := p.MaxMessageSize(); size != 1472 {
		t.Errorf("option 57 is %d", size)
	}
	if p.NumSeconds != 65535 {
		t.Errorf("secs is %d", p.NumSeconds)
	}
	for _, code := range []uint8{12, 60, 61, 77, 80, 50, 54} {
		if p.Options.Has(dhcpv4.GenericOptionCode(code)) {
			t.Errorf("option %d is sent by default", code)
		}
	}
	list := p.Options.Get(dhcpv4.OptionParameterRequestList)
	at := func(code byte) int { return bytes.IndexByte(list, code) }
	if at(121) > at(33) || at(33) > at(3) || bytes.Count(list, []byte{3}) != 1 || !bytes.HasSuffix(list, []byte{125, 108}) {
		t.Errorf("option 55 is %v", list)
	}
	if bytes.IndexByte(parse(testConfig(), request{kind: discover}).Options.Get(dhcpv4.OptionParameterRequestList), 108) >= 0 {
		t.Error("option 108 is requested: that consents to being left without IPv4")
	}

	cfg = testConfig()
	cfg.RapidCommit, cfg.Hostname = true, "ar0"
	cfg.Send = []Option{opt(90, "0102"), opt(12, "78"), opt(61, "01ff")}
	p = parse(cfg, request{kind: discover})
	if !p.Options.Has(dhcpv4.OptionRapidCommit) || p.HostName() != "x" || !bytes.Equal(p.Options.Get(dhcpv4.GenericOptionCode(90)), []byte{1, 2}) {
		t.Errorf("options %v", p.Options)
	}
	p = parse(cfg, request{kind: release, addr: ip("192.0.2.9"), server: ip("192.0.2.1")})
	if p.Options.Has(dhcpv4.GenericOptionCode(90)) || !bytes.Equal(p.Options.Get(dhcpv4.OptionClientIdentifier), []byte{1, 0xff}) {
		t.Errorf("options of RELEASE %v", p.Options)
	}
	if parse(cfg, request{kind: reboot, addr: ip("192.0.2.9")}).Options.Has(dhcpv4.OptionRapidCommit) {
		t.Error("rapid commit in a REQUEST")
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no interface":       func(c *Config) { c.Interface = "" },
		"long interface":     func(c *Config) { c.Interface = strings.Repeat("x", 16) },
		"no MAC":             func(c *Config) { c.MAC = nil },
		"zero MAC":           func(c *Config) { c.MAC = make([]byte, 6) },
		"multicast MAC":      func(c *Config) { c.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} },
		"long hostname":      func(c *Config) { c.Hostname = strings.Repeat("x", 256) },
		"long vendor class":  func(c *Config) { c.VendorClass = strings.Repeat("x", 256) },
		"long user class":    func(c *Config) { c.UserClass = strings.Repeat("x", 255) },
		"short client id":    func(c *Config) { c.ClientID = []byte{1} },
		"priority":           func(c *Config) { c.Priority = 8 },
		"send message type":  func(c *Config) { c.Send = []Option{opt(53, "01")} },
		"send option 50":     func(c *Config) { c.Send = []Option{opt(50, "01020304")} },
		"send option 0":      func(c *Config) { c.Send = []Option{opt(0, "")} },
		"send twice":         func(c *Config) { c.Send = []Option{opt(90, "00"), opt(90, "00")} },
		"send too much":      func(c *Config) { c.Send = []Option{{90, make([]byte, 256)}} },
		"request 255":        func(c *Config) { c.Request = []uint8{255} },
		"request everything": func(c *Config) { c.Request = bytes.Repeat([]byte{9}, 255) },
		"expect IPv6":        func(c *Config) { c.Expect = pfx("2001:db8::/32") },
	} {
		cfg := testConfig()
		change(cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := testConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestOptionText(t *testing.T) {
	for in, want := range map[string]string{"90:0102": "90:0102", "125:00:00:0d:e9": "125:00000de9", "80:": "80:", "61:FF 01": "61:ff01"} {
		o, err := ParseOption(in)
		if err != nil || o.String() != want {
			t.Errorf("%q became %v, %v", in, o, err)
		}
		var back Option
		if err := back.UnmarshalText([]byte(o.String())); err != nil || back.String() != want {
			t.Errorf("%q: %v", want, err)
		}
	}
	for _, bad := range []string{"", "90", ":00", "0:00", "255:00", "256:00", "-1:00", "x:00", "90:0", "90:xy"} {
		if o, err := ParseOption(bad); err == nil {
			t.Errorf("%q became %v", bad, o)
		}
	}
}

func TestFrame(t *testing.T) {
	payload := testConfig().encode(request{kind: discover, xid: 1})
	b := broadcastDatagram(payload)
	// The answer's ports, so that the reader accepts our own frame.
	reply := bytes.Clone(b)
	reply[20], reply[21], reply[22], reply[23] = 0, serverPort, 0, clientPort
	vm := filterVM(t)
	seen := func(p []byte) bool {
		n, err := vm.Run(p)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	if got, ok := udpPayload(reply, true); !ok || !bytes.Equal(got, payload) {
		t.Fatal("a sound frame is refused")
	}
	if got, ok := udpPayload(append(bytes.Clone(reply), 0, 0, 0), true); !ok || !bytes.Equal(got, payload) {
		t.Error("padding of a frame is not ignored")
	}
	if !seen(reply) || seen(b) {
		t.Error("the filter mistakes our port")
	}
	withOptions := append(bytes.Clone(reply[:20]), append([]byte{1, 1, 1, 1}, reply[20:]...)...)
	withOptions[0] = 0x46
	if !seen(withOptions) {
		t.Error("the filter mistakes IP options")
	}
	damage := map[string]func([]byte) []byte{
		"short":                 func(b []byte) []byte { return b[:19] },
		"cut":                   func(b []byte) []byte { return b[:len(b)-1] },
		"IPv6":                  func(b []byte) []byte { b[0] = 0x65; return b },
		"header length":         func(b []byte) []byte { b[0] = 0x44; return b },
		"header checksum":       func(b []byte) []byte { b[10] ^= 1; return b },
		"TCP":                   func(b []byte) []byte { b[9] = 6; return b },
		"port":                  func(b []byte) []byte { b[23]++; return b },
		"UDP length short":      func(b []byte) []byte { b[24], b[25] = 0, 7; return b },
		"UDP length long":       func(b []byte) []byte { b[24], b[25] = 0xff, 0xff; return b },
		"UDP checksum":          func(b []byte) []byte { b[100] ^= 1; return b },
		"fragment":              func(b []byte) []byte { b[6] |= 0x20; return b },
		"fragment at an offset": func(b []byte) []byte { b[7] |= 1; return b },
	}
	for name, f := range damage {
		if _, ok := udpPayload(f(bytes.Clone(reply)), true); ok {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, ok := udpPayload(damage["UDP checksum"](bytes.Clone(reply)), false); !ok {
		t.Error("a checksum that is not there yet is checked")
	}
	for _, name := range []string{"TCP", "port", "fragment", "fragment at an offset"} {
		if seen(damage[name](bytes.Clone(reply))) {
			t.Errorf("the filter lets %s through", name)
		}
	}
	for i := range 6 {
		other := bytes.Clone(reply)
		other[28+offChaddr+i] ^= 1
		if seen(other) {
			t.Errorf("the filter lets another chaddr through (byte %d)", i)
		}
	}
	if seen(reply[:40]) {
		t.Error("the filter lets a short packet through")
	}
}

func filterVM(t *testing.T) *bpf.VM {
	raw, err := captureFilter(testMAC)
	if err != nil {
		t.Fatal(err)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("filter does not disassemble")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// The example of RFC 1071 3.
func TestChecksum(t *testing.T) {
	b, _ := hex.DecodeString("0001f203f4f5f6f7")
	if got := checksum(0, b); got != ^uint16(0xddf2) {
		t.Errorf("%04x", got)
	}
	if checksum(0, []byte{1, 2, 3}) != checksum(0, []byte{1, 2, 3, 0}) {
		t.Error("an odd length is not padded")
	}
}
