package dhcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var testMAC = net.HardwareAddr{0x02, 0x68, 0x71, 0x2e, 0x62, 0x67}

func testConfig() *Config {
	return &Config{Interface: "wan", MAC: testMAC}
}

// opt is a raw option from hexadecimal.
func opt(code uint8, data string) Option {
	b, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil {
		panic(err)
	}
	return Option{code, b}
}

func text(code uint8, s string) Option { return Option{code, []byte(s)} }

// answer is a well-formed message of the given type without options of the lease.
func answer(kind dhcpv4.MessageType, yiaddr string, opts ...Option) []byte {
	p, err := dhcpv4.New(dhcpv4.WithHwAddr(testMAC), dhcpv4.WithTransactionID(dhcpv4.TransactionID{0, 0, 0, 9}),
		dhcpv4.WithYourIP(net.ParseIP(yiaddr).To4()))
	if err != nil {
		panic(err)
	}
	p.OpCode = dhcpv4.OpcodeBootReply
	b := appendOption(p.ToBytes()[:offOptions:offOptions], dhcpv4.OptionDHCPMessageType, byte(kind))
	for _, o := range opts {
		for d := o.Data; ; d = d[255:] { // RFC 3396: what is longer is split
			b = appendOption(b, dhcpv4.GenericOptionCode(o.Code), d[:min(len(d), 255)]...)
			if len(d) <= 255 {
				break
			}
		}
	}
	return append(b, 255)
}

// sound are the options of a lease that needs nothing more; those of opts replace
// them.
func sound(opts ...Option) []Option {
	all := []Option{opt(54, "c0000201"), opt(1, "ffffff00"), opt(51, "00000e10"), opt(3, "c0000201")}
	for _, o := range opts {
		all = slices.DeleteFunc(all, func(a Option) bool { return a.Code == o.Code })
	}
	for _, o := range opts {
		if o.Data != nil {
			all = append(all, o)
		}
	}
	return all
}

func without(code uint8) Option { return Option{code, nil} }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func ips(s ...string) (all []netip.Addr) {
	for _, a := range s {
		all = append(all, ip(a))
	}
	return all
}

func TestSoundLease(t *testing.T) {
	cfg := testConfig()
	cfg.Request = []uint8{125, 90}
	m, err := cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(
		opt(28, "c00002ff"), opt(6, "c0000235 c6336401"), text(15, "example.net"), text(12, "wan-1"),
		opt(26, "05d4"), opt(58, "00000384"), opt(59, "00000a8c"), opt(108, "00000708"), opt(125, "00000de900"),
		opt(119, "046c6f6e65 00 03737562 07 6578616d706c65 03636f6d 00 c00a"), // the last points into the second
	)...))
	if err != nil || m.refusal != nil || len(m.faults) != 0 {
		t.Fatalf("error %v, refusal %v, faults %q", err, m.refusal, m.faults)
	}
	want := &Lease{
		Prefix: pfx("192.0.2.100/24"), Broadcast: ip("192.0.2.255"), Server: ip("192.0.2.1"),
		Routes: []Route{{defaultDst, ip("192.0.2.1")}}, Gateway: ip("192.0.2.1"),
		DNS: ips("192.0.2.53", "198.51.100.1"), Domain: "example.net", Hostname: "wan-1",
		Search: []string{"lone", "sub.example.com", "example.com"}, MTU: 1492,
		Extra: []Option{opt(125, "00000de900")},
		T1:    15 * time.Minute, T2: 45 * time.Minute, TTL: time.Hour,
	}
	if !reflect.DeepEqual(m.lease, want) {
		t.Errorf("got  %+v\nwant %+v", m.lease, want)
	}
	if m.xid != 9 || m.server != ip("192.0.2.1") || m.kind != dhcpv4.MessageTypeAck {
		t.Errorf("message %+v", m)
	}
}

// Every line is a lease that must be refused as a whole.
func TestRefusedLease(t *testing.T) {
	for name, c := range map[string]struct {
		addr string
		opts []Option
	}{
		"address zero":              {"0.0.0.0", nil},
		"address of 0/8":            {"0.1.2.3", nil},
		"limited broadcast":         {"255.255.255.255", nil},
		"multicast":                 {"224.0.0.5", nil},
		"class E":                   {"240.0.0.1", nil},
		"loopback":                  {"127.0.0.1", nil},
		"network address":           {"192.0.2.0", nil},
		"directed broadcast":        {"192.0.2.255", nil},
		"mask 0":                    {"192.0.2.9", []Option{opt(1, "00000000")}},
		"mask of 7 bits":            {"192.0.2.9", []Option{opt(1, "fe000000")}},
		"mask with holes":           {"192.0.2.9", []Option{opt(1, "ff00ff00")}},
		"short mask":                {"192.0.2.9", []Option{opt(1, "ffff")}},
		"lease time 0":              {"192.0.2.9", []Option{opt(51, "00000000")}},
		"no lease time":             {"192.0.2.9", []Option{without(51)}},
		"short lease time":          {"192.0.2.9", []Option{opt(51, "0e10")}},
		"two lease times, repeated": {"192.0.2.9", []Option{opt(51, "00000e1000000e10")}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := testConfig().decode(answer(dhcpv4.MessageTypeOffer, c.addr, sound(c.opts...)...))
			if err != nil {
				t.Fatal(err)
			}
			if m.lease != nil || m.refusal == nil {
				t.Errorf("lease %+v, refusal %v", m.lease, m.refusal)
			}
		})
	}
}

// Every line is a packet that must be dropped.
func TestDroppedPacket(t *testing.T) {
	good := answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound()...)
	cfg := testConfig()
	cfg.ClientID = []byte{0, 1, 2}
	for name, b := range map[string][]byte{
		"empty":              nil,
		"header only":        good[:offOptions-1],
		"cut in an option":   good[:offOptions+5],
		"no message type":    append(bytes.Clone(good[:offOptions]), 255),
		"long message type":  append(bytes.Clone(good[:offOptions]), 53, 2, 5, 5, 255),
		"a client's message": answer(dhcpv4.MessageTypeRequest, "192.0.2.9", sound()...),
		"overload of 4":      answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound(opt(52, "04"))...),
		"overload with garbage": func() []byte {
			b := answer(5, "192.0.2.9", sound(opt(52, "01"))...)
			b[offFile], b[offFile+1] = 6, 200
			return b
		}(),
		"another client's answer": answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound(opt(61, "000102ff"))...),
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := cfg.decode(b); err == nil {
				t.Errorf("accepted as %+v", m)
			}
		})
	}
	if _, err := cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound(opt(61, "000102"))...)); err != nil {
		t.Errorf("an answer that echoes our client identifier was dropped: %v", err)
	}
	if _, err := cfg.decode(good[:len(good)-1]); err != nil {
		t.Errorf("a missing end option was not forgiven: %v", err)
	}
}

func TestIsReplyTo(t *testing.T) {
	good := answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound()...)
	if !isReplyTo(good, 9, testMAC) {
		t.Fatal("the good one is refused")
	}
	if isReplyTo(good, 8, testMAC) {
		t.Error("another xid is accepted")
	}
	for name, at := range map[string]int{"op": 0, "htype": 1, "hlen": 2, "chaddr": offChaddr + 5, "cookie": offCookie + 3} {
		b := bytes.Clone(good)
		b[at] ^= 1
		if isReplyTo(b, 9, testMAC) {
			t.Errorf("another %s is accepted", name)
		}
	}
	for n := range offOptions + 1 {
		if isReplyTo(good[:n], 9, testMAC) {
			t.Fatalf("%d bytes are accepted", n)
		}
	}
}

func TestOverload(t *testing.T) {
	for which, where := range map[string][]int{"01": {offFile}, "02": {offSname}, "03": {offFile, offSname}} {
		b := answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound(without(3), opt(52, which))...)
		router := []byte{3, 4, 192, 0, 2, 7, 255}
		copy(b[where[0]:], router)
		if len(where) > 1 { // a name server in the other field
			copy(b[where[1]:], []byte{0, 6, 4, 192, 0, 2, 8, 255})
		}
		m, err := testConfig().decode(b)
		if err != nil || m.lease == nil {
			t.Fatalf("overload %s: %v %v", which, err, m.refusal)
		}
		if m.lease.Gateway != ip("192.0.2.7") {
			t.Errorf("overload %s: gateway %v", which, m.lease.Gateway)
		}
		if len(where) > 1 && !slices.Equal(m.lease.DNS, ips("192.0.2.8")) {
			t.Errorf("overload %s: DNS %v", which, m.lease.DNS)
		}
	}
	// Without option 52 the fields are names and nothing else.
	b := answer(dhcpv4.MessageTypeAck, "192.0.2.9", sound(without(3))...)
	copy(b[offFile:], []byte{3, 4, 192, 0, 2, 7, 255})
	if m, err := testConfig().decode(b); err != nil || m.lease.Gateway.IsValid() {
		t.Errorf("a file name was read as options: %v %+v", err, m.lease)
	}
}

func TestRoutes(t *testing.T) {
	def := func(gw string) Route { return Route{defaultDst, ip(gw)} }
	for name, c := range map[string]struct {
		opts   []Option
		want   []Route
		faults int
	}{
		"option 3":                {nil, []Route{def("192.0.2.1")}, 0},
		"the first router counts": {[]Option{opt(3, "c0000207 c0000208")}, []Route{def("192.0.2.7")}, 0},
		"121 beats 3, 33 and 249": {
			[]Option{opt(121, "00 c0000207"), opt(249, "00 c0000208"), opt(33, "0a000000c0000209")},
			[]Route{def("192.0.2.7")},
			0,
		},
		"121 beats 3 without a default route": {
			[]Option{opt(121, "08 0a c0000207")},
			[]Route{{pfx("10.0.0.0/8"), ip("192.0.2.7")}},
			0,
		},
		"249 beats 3": {[]Option{opt(249, "00 c0000208")}, []Route{def("192.0.2.8")}, 0},
		"33 and 3": {
			[]Option{opt(33, "0a000000c0000209 ac100000c0000209 c6336400c0000209 cb007107c0000209")},
			[]Route{
				{pfx("10.0.0.0/8"), ip("192.0.2.9")},
				{pfx("172.16.0.0/16"), ip("192.0.2.9")},
				{pfx("198.51.100.0/24"), ip("192.0.2.9")},
				{pfx("203.0.113.7/32"), ip("192.0.2.9")},
				def("192.0.2.1"),
			},
			0,
		},
		"33 at the edges of the classes": {
			[]Option{opt(33, "7e000000c0000209 80010000c0000209 bf010000c0000209 c0000300c0000209")},
			[]Route{
				{pfx("126.0.0.0/8"), ip("192.0.2.9")},
				{pfx("128.1.0.0/16"), ip("192.0.2.9")},
				{pfx("191.1.0.0/16"), ip("192.0.2.9")},
				{pfx("192.0.3.0/24"), ip("192.0.2.9")},
				def("192.0.2.1"),
			},
			0,
		},
		"gateway outside the prefix": {[]Option{opt(3, "0a0000fe")}, []Route{def("10.0.0.254")}, 0},
		"a /32 with its gateway":     {[]Option{opt(1, "ffffffff"), opt(121, "20 0a0000fe 00000000 00 0a0000fe")}, []Route{{pfx("10.0.0.254/32"), netip.Addr{}}, def("10.0.0.254")}, 0},
		"on-link default":            {[]Option{opt(121, "00 00000000")}, []Route{{defaultDst, netip.Addr{}}}, 0},
		"bits beyond the mask":       {[]Option{opt(121, "09 0aff c0000207")}, []Route{{pfx("10.128.0.0/9"), ip("192.0.2.7")}}, 0},
		"multicast destination":      {[]Option{opt(121, "04 e0 c0000207")}, []Route{{pfx("224.0.0.0/4"), ip("192.0.2.7")}}, 0},
		"121 cut short":              {[]Option{opt(121, "00 c00002")}, []Route{def("192.0.2.1")}, 1},
		"121 with 33 bits":           {[]Option{opt(121, "21 0a0000000 0c0000207")}, []Route{def("192.0.2.1")}, 1},
		"121 with trailing garbage":  {[]Option{opt(121, "00 c0000207 ff")}, []Route{def("192.0.2.1")}, 1},
		"121 of nothing":             {[]Option{opt(121, "")}, []Route{def("192.0.2.1")}, 0},
		"insane gateways in 121":     {[]Option{opt(121, "00 ffffffff 00 e0000001 00 7f000001 00 c0000207")}, []Route{def("192.0.2.7")}, 3},
		"routes to loopback, 0/8, E": {[]Option{opt(121, "08 7f c0000207 08 00 c0000207 04 f0 c0000207 00 c0000207")}, []Route{def("192.0.2.7")}, 3},
		"ourselves as the router":    {[]Option{opt(3, "c0000264 c0000207")}, []Route{def("192.0.2.7")}, 1},
		"insane routers":             {[]Option{opt(3, "00000000 ffffffff e0000001")}, nil, 3},
		"a router and a half":        {[]Option{opt(3, "c0000207 c000")}, nil, 1},
		"33 cut short":               {[]Option{opt(33, "0a000000c00002")}, []Route{def("192.0.2.1")}, 1},
		"33 to zero":                 {[]Option{opt(33, "00000000c0000209")}, []Route{def("192.0.2.1")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(c.opts...)...))
			if err != nil || m.lease == nil {
				t.Fatal(err, m.refusal)
			}
			if !slices.Equal(m.lease.Routes, c.want) {
				t.Errorf("routes %v, want %v", m.lease.Routes, c.want)
			}
			if len(m.faults) != c.faults {
				t.Errorf("faults %q, want %d", m.faults, c.faults)
			}
			if err := finished(m.lease).validate(); err != nil {
				t.Error(err)
			}
		})
	}
	var many []byte
	for i := range 300 {
		many = append(many, 24, 10, byte(i>>8), byte(i), 192, 0, 2, 7)
	}
	m, _ := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(Option{121, many})...))
	if len(m.lease.Routes) != maxRoutes {
		t.Errorf("%d routes from 300", len(m.lease.Routes))
	}
	if l := m.lease; l.OnLink(ip("192.0.2.9")) || !l.OnLink(ip("192.0.3.9")) || l.OnLink(netip.Addr{}) {
		t.Error("OnLink is wrong")
	}
}

// finished is a copy of a parsed lease as the machine would hold it.
func finished(l *Lease) *Lease {
	c := *l
	c.setTimers(testDice())
	return &c
}

func TestNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("a", 61) // 253
	for s, want := range map[string]bool{
		"example.net": true, "a": true, "3com.com": true, "x--y.de": true, label: true, long: true, "EXAMPLE": true,
		"": false, ".": false, "a..b": false, "-a": false, "a-": false, "a.-b": false, label + "a": false, long + "a": false,
		"a b": false, "a\nnameserver 6.6.6.6": false, "a;reboot": false, "$(reboot)": false, "`id`": false, "a\x00b": false,
		"a'b": false, `a"b`: false, "a/b": false, "a\\b": false, "ä.de": false, "_dmarc.x": false, "a\tb": false, "*.x": false,
	} {
		if validName(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
		m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(text(15, s), text(12, s))...))
		if err != nil || m.lease == nil {
			t.Fatal(err, m.refusal)
		}
		if got := m.lease.Domain; (got == s) != (want || s == "") || m.lease.Hostname != got {
			t.Errorf("%q became the domain %q and the host name %q", s, got, m.lease.Hostname)
		}
	}
	m, _ := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(text(15, "example.net.\x00"))...))
	if m.lease.Domain != "example.net" {
		t.Errorf("domain %q", m.lease.Domain)
	}
}

func TestSearchList(t *testing.T) {
	labels255 := strings.Repeat("0161", 255) + "00"
	for name, c := range map[string]struct {
		data string
		want []string
	}{
		"one name":                  {"0161 0162 00", []string{"a.b"}},
		"pointer":                   {"0161 0162 00 0163 c002", []string{"a.b", "c.b"}},
		"pointer to a pointer":      {"0161 00 0162 c000 0163 c003", []string{"a", "b.a", "c.b.a"}},
		"the same twice":            {"0161 00 0161 00", []string{"a"}},
		"pointer to itself":         {"c000", nil},
		"loop":                      {"0161 c000", nil},
		"pointer forwards":          {"c002 0161 00", nil},
		"pointer past the end":      {"0161 00 c0ff", nil},
		"half a pointer":            {"0161 00 c0", nil},
		"no end":                    {"0161", nil},
		"label past the end":        {"3f61", nil},
		"reserved label type":       {"4161 00", nil},
		"255 labels":                {labels255, nil},
		"dot in a label":            {"03612e62 00", nil},
		"newline in a label":        {"03610a62 00 0163 00", []string{"c"}},
		"shell in a label":          {"0624 2869 6429 20 00 0163 00", []string{"c"}},
		"empty name":                {"00 0163 00", []string{"c"}},
		"a name of too many octets": {strings.Repeat("3f"+strings.Repeat("61", 63), 4) + "00", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(opt(119, c.data))...))
			if err != nil || m.lease == nil {
				t.Fatal(err, m.refusal)
			}
			if !slices.Equal(m.lease.Search, c.want) {
				t.Errorf("search %q, want %q", m.lease.Search, c.want)
			}
		})
	}
	var many []byte
	for i := range 600 {
		many = append(many, 2, 'a'+byte(i/26), 'a'+byte(i%26), 0)
	}
	m, _ := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(Option{119, many})...))
	if len(m.lease.Search) != maxSearch {
		t.Errorf("%d search domains", len(m.lease.Search))
	}
}

func TestMTU(t *testing.T) {
	for data, want := range map[string]int{
		"0000": 0, "0043": 0, "05": 0, "000005dc": 0, // illegal: as if not given
		"0044": 576, "0240": 576, "0241": 577, "05dc": 1500, "2328": 9000, "ffff": 65535,
	} {
		m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(opt(26, data))...))
		if err != nil || m.lease == nil {
			t.Fatal(err, m.refusal)
		}
		if m.lease.MTU != want {
			t.Errorf("%s: MTU %d, want %d", data, m.lease.MTU, want)
		}
	}
}

func TestServerTimes(t *testing.T) {
	u32 := func(code uint8, v uint32) Option { return Option{code, binary.BigEndian.AppendUint32(nil, v)} }
	for name, c := range map[string]struct {
		ttl, t1, t2 uint32
		// As parsed; zero where the machine has to choose.
		wantT1, wantT2 time.Duration
	}{
		"sound":            {100, 10, 20, 10 * time.Second, 20 * time.Second},
		"T1 = T2":          {100, 20, 20, 0, 0},
		"T1 > T2":          {100, 30, 20, 0, 0},
		"T2 = lease":       {100, 10, 100, 10 * time.Second, 0},
		"T1 > lease":       {100, 200, 0, 0, 0},
		"both > lease":     {100, 200, 300, 0, 0},
		"lease of 1 s":     {1, 0, 0, 0, 0},
		"almost infinite":  {1<<32 - 2, 0, 0, 0, 0},
		"infinite":         {1<<32 - 1, 10, 20, Infinite, Infinite},
		"T2 infinite":      {100, 10, 1<<32 - 1, 10 * time.Second, 0},
		"T1 near T2":       {100, 99, 0, 99 * time.Second, 0},
		"T1 = lease":       {100, 100, 0, 0, 0},
		"T1 at T2's place": {8, 7, 0, 7 * time.Second, 0},
		"nothing but T2":   {100, 0, 1, 0, time.Second},
		"the longest ever": {1<<32 - 2, 1<<32 - 4, 1<<32 - 3, (1<<32 - 4) * time.Second, (1<<32 - 3) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := testConfig().decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(u32(51, c.ttl), u32(58, c.t1), u32(59, c.t2))...))
			if err != nil || m.lease == nil {
				t.Fatal(err, m.refusal)
			}
			if m.lease.T1 != c.wantT1 || m.lease.T2 != c.wantT2 {
				t.Errorf("T1 %v T2 %v", m.lease.T1, m.lease.T2)
			}
			dice := testDice()
			for range 1000 {
				l := *m.lease
				l.setTimers(dice)
				if err := l.validate(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestListsAndLeftovers(t *testing.T) {
	cfg := testConfig()
	m, _ := cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(
		opt(6, strings.Repeat("c0000235", 3)+"00000000 7f000001 ffffffff"+"01010101 01010102 01010103 01010104 01010105 01010106 01010107 01010108 01010109"),
	)...))
	if len(m.lease.DNS) != maxDNS || m.lease.DNS[0] != ip("192.0.2.53") || m.lease.DNS[1] != ip("1.1.1.1") {
		t.Errorf("DNS %v", m.lease.DNS)
	}
	for data, want := range map[string]string{"c00002ff": "192.0.2.255", "ffffffff": "192.0.2.255", "c0000264": "192.0.2.255", "c00002": "192.0.2.255", "c0000200": "192.0.2.0"} {
		m, _ := cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(opt(28, data))...))
		if m.lease.Broadcast != ip(want) {
			t.Errorf("broadcast %s became %v", data, m.lease.Broadcast)
		}
	}
	for mask, want := range map[string]netip.Addr{"fffffffc": ip("192.0.2.103"), "fffffffe": {}} {
		m, _ := cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.101", sound(opt(1, mask), opt(28, "c0000267"))...))
		if m.lease.Broadcast != want {
			t.Errorf("mask %s: broadcast %v, want %v", mask, m.lease.Broadcast, want)
		}
	}
	m, _ = cfg.decode(answer(dhcpv4.MessageTypeAck, "192.0.2.100", sound(without(1))...))
	if m.lease.Prefix != pfx("192.0.2.100/32") || m.lease.Broadcast.IsValid() || !m.lease.OnLink(m.lease.Gateway) {
		t.Errorf("without a mask: %+v", m.lease)
	}
	for _, bad := range []string{"00000000", "ffffffff", "e0000001", "7f000001", "c00002"} {
		m, _ = cfg.decode(answer(dhcpv4.MessageTypeOffer, "192.0.2.100", sound(opt(54, bad))...))
		if m.server.IsValid() {
			t.Errorf("server identifier %s was taken", bad)
		}
	}
	m, err := cfg.decode(answer(dhcpv4.MessageTypeNak, "0.0.0.0", opt(54, "c0000201"), text(56, "no\n\x1b[31m address\x07 left "+strings.Repeat("x", 300))))
	if err != nil || !strings.HasPrefix(m.text, "no[31m address left xxx") || len(m.text) > maxText {
		t.Errorf("NAK: %v, text %q", err, m.text)
	}
}
