package config

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/services"
)

const full = `# both routers
config wanfail 'globals'
	list service 'dnsmasq'
	list service "odhcpd"
	option conntrackd '1'
	option backup_gateway '192.168.1.1'
	option log_level 'debug'

config wan wan
	option parent	'eth2'
	option macaddr '02:68:71:2E:62:67'
	option instance 'VI_1'
	option metric '10'
	option hostname 'gate'      # a comment
	option vendorclass 'it'\''s "mine"'
	option clientid '01:02:68:71:2e:62:67'
	option peerdns '0'
	option request '90 125'
	list sendopt '90:00ff'
	option arp_interval '0'
	option expect '203.0.113.0/24'
	option mtu '1492'
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wanfail")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLoad(t *testing.T) {
	got, err := load(t, full)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Services: []string{"dnsmasq", "odhcpd"}, ServicesNamed: true, Conntrackd: On,
		BackupGateway: netip.MustParseAddr("192.168.1.1"), LogLevel: slog.LevelDebug,
		WANs: []WAN{{
			Name: "wan", Parent: "eth2", MAC: []byte{2, 0x68, 0x71, 0x2e, 0x62, 0x67}, Instance: "VI_1",
			Metric: 10, DefaultRoute: true, MTU: 1492,
			DHCP: dhcp.Config{
				Interface: "wan", MAC: []byte{2, 0x68, 0x71, 0x2e, 0x62, 0x67},
				Hostname: "gate", VendorClass: `it's "mine"`,
				ClientID: []byte{1, 2, 0x68, 0x71, 0x2e, 0x62, 0x67}, Request: []uint8{90, 125},
				Send: []dhcp.Option{{Code: 90, Data: []byte{0, 0xff}}}, Expect: netip.MustParsePrefix("203.0.113.0/24"),
			},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaults(t *testing.T) {
	got, err := load(t, "config wan wan\n option parent eth2\n option macaddr 02:00:00:00:00:01\n option hostname ''\n option instance ''\n")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Services, DefaultServices()) || got.ServicesNamed || got.Conntrackd != Auto {
		t.Errorf("got %+v", got)
	}
	if w := got.WANs[0]; !w.DefaultRoute || !w.PeerDNS || w.ARPInterval != 2*time.Minute || w.DHCP.ClientID != nil {
		t.Errorf("got %+v", w)
	}
	got, err = load(t, "config wanfail\n option service none\nconfig wan wan\n option parent eth2\n option macaddr 02:00:00:00:00:01\n")
	if err != nil || len(got.Services) != 0 || !got.ServicesNamed {
		t.Errorf("service none: got %+v, %v", got, err)
	}
}

func TestMistakesNameFileLineAndOption(t *testing.T) {
	const wan = "config wan wan\n option parent eth2\n option macaddr 02:00:00:00:00:01\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "no section 'config wan NAME'"},
		"no WAN":            {"config wanfail globals\n", "no section 'config wan NAME'"},
		"unknown option":    {wan + " option colour red\n", ":4: unknown option \"colour\""},
		"unknown section":   {"config lan x\n" + wan, ":1: unknown section type \"lan\""},
		"unknown keyword":   {wan + " opiton metric 1\n", ":4: unknown keyword \"opiton\""},
		"option first":      {"option parent eth2\n", ":1: option \"parent\" stands before"},
		"no value":          {wan + " option metric\n", ":4: want: option NAME 'VALUE'"},
		"twice":             {wan + " option metric 1\n option metric 2\n", ":5: option \"metric\" stands twice"},
		"list":              {wan + " list metric 1\n", ":4: option \"metric\" takes one value"},
		"open quote":        {wan + " option hostname 'x\n", ":4: single quote is not closed"},
		"open double quote": {wan + " option hostname \"x\n", ":4: double quote is not closed"},
		"control character": {wan + " option hostname a\x01b\n", ":4: control character"},
		"quoted control":    {wan + " option hostname 'a\x01b'\n", ":4: option hostname \"a\\x01b\": unprintable"},
		"no parent":         {"config wan wan\n option macaddr 02:00:00:00:00:01\n", ":1: wan 'wan' has no option 'parent'"},
		"no MAC":            {"config wan wan\n option parent eth2\n", ":1: wan 'wan' has no option 'macaddr'"},
		"multicast MAC":     {"config wan wan\n option parent eth2\n option macaddr 03:00:00:00:00:01\n", ":3: option macaddr \"03:00:00:00:00:01\": a multicast"},
		"zero MAC":          {"config wan wan\n option parent eth2\n option macaddr 00:00:00:00:00:00\n", "all-zero"},
		"short MAC":         {"config wan wan\n option parent eth2\n option macaddr 02:00\n", ":3: option macaddr"},
		"long MAC":          {"config wan wan\n option parent eth2\n option macaddr 02:00:00:00:00:00:00:01\n", ":3: option macaddr"},
		"long name":         {"config wan abcdefghijklmnop\n option parent eth2\n option macaddr 02:00:00:00:00:01\n", "longer than the 15 bytes"},
		"no name":           {"config wan\n option parent eth2\n option macaddr 02:00:00:00:00:01\n", "want an interface name"},
		"path as name":      {"config wan a/b\n option parent eth2\n option macaddr 02:00:00:00:00:01\n", "no name for an interface"},
		"own parent":        {"config wan eth2\n option parent eth2\n option macaddr 02:00:00:00:00:01\n", "its own parent"},
		"second WAN":        {wan + wan, ":4: a second wan 'wan'"},
		"same MAC":          {wan + "config wan wan2\n option parent eth2\n option macaddr 02:00:00:00:00:01\n", ":4: wan 'wan2' has the same macaddr"},
		"second globals":    {"config wanfail a\nconfig wanfail b\n" + wan, ":2: a second section"},
		"service path":      {"config wanfail g\n list service ../sh\n" + wan, ":2: option service \"../sh\""},
		"service dash":      {"config wanfail g\n list service -f\n" + wan, ":2: option service \"-f\""},
		"conntrackd":        {"config wanfail g\n option conntrackd maybe\n" + wan, ":2: option conntrackd \"maybe\": want auto, 0 or 1"},
		"level":             {"config wanfail g\n option log_level loud\n" + wan, ":2: option log_level"},
		"gateway":           {"config wanfail g\n option backup_gateway fe80::1\n" + wan, ":2: option backup_gateway"},
		"metric":            {wan + " option metric -1\n", ":4: option metric \"-1\": want a number"},
		"boolean":           {wan + " option peerdns maybe\n", ":4: option peerdns"},
		"client id":         {wan + " option clientid zz\n", ":4: option clientid"},
		"client id type":    {wan + " option clientid 01\n", "has 2 to 255 bytes"},
		"option sent twice": {wan + " list sendopt '90:00'\n list sendopt '90:00'\n", ":5: option sendopt \"90:00\": send option 90 twice"},
		"owned twice":       {wan + " list sendopt '82:00 90:00'\n list sendopt '90:00'\n", ":4: option sendopt \"82:00 90:00\": send option 82"},
		"service _foo":      {"config wanfail g\n list service _foo\n" + wan, ":2: option service \"_foo\""},
		"long user class":   {wan + " option userclass '" + strings.Repeat("x", 255) + "'\n", ":4: option userclass"},
		"many to request":   {wan + " list request '" + codes(1, 254) + "'\n", ":4: option request"},
		"bad instance":      {wan + " option instance '" + strings.Repeat("x", 129) + "'\n", ":4: option instance"},
		"owned option":      {wan + " option sendopt 53:01\n", "belongs to the DHCP client"},
		"option 0":          {wan + " option request 0\n", "no DHCP option"},
		"MTU":               {wan + " option mtu 575\n", ":4: option mtu \"575\": want a number from 576"},
		"MTU in words":      {wan + " option mtu large\n", ":4: option mtu"},
		"priority":          {wan + " option priority 8\n", "from 0 to 7"},
		"several":           {"config wan wan\n option metric x\n option peerdns y\n", ":3: option peerdns"},
		"not UTF-8":         {wan + " option hostname \xff\n", ":4: text is not UTF-8"},
		"long line":         {wan + " option hostname " + strings.Repeat("x", 5000) + "\n", ":4: line is longer"},
		"late package":      {wan + "package x\n", ":4: want: package NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v\nwant one with %q", err, c.want)
			}
		})
	}
}

// codes are the numbers from first to last.
func codes(first, last int) string {
	var all []string
	for n := first; n <= last; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return strings.Join(all, " ")
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestQuoting(t *testing.T) {
	for line, want := range map[string][]string{
		`option a 'b c'`:    {"option", "a", "b c"},
		`option a b\ c`:     {"option", "a", "b c"},
		`option a "b\"c"`:   {"option", "a", `b"c`},
		`option a 'b'"c"d`:  {"option", "a", "bcd"},
		`option a ''`:       {"option", "a", ""},
		`option a b#c # d`:  {"option", "a", "b#c"},
		"\t # only comment": nil,
		`option a 'b\c'`:    {"option", "a", `b\c`},
	} {
		got, err := split(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v", line, got, err)
		}
	}
}

// Whatever the file holds: no panic, and what is accepted is valid.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("config wan 'a'\n\toption macaddr \"02:\\\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sections, err := Parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		cfg, err := build(sections, "fuzz")
		if err != nil {
			return
		}
		for _, w := range cfg.WANs {
			if linkName(w.Name) != nil || linkName(w.Parent) != nil || len(w.MAC) != 6 || w.MAC[0]&1 != 0 || w.Metric < 0 {
				t.Errorf("accepted %+v", w)
			}
			if err := w.DHCP.Validate(); err != nil {
				t.Errorf("accepted %+v: %v", w, err)
			}
		}
		for _, s := range cfg.Services {
			if services.ValidName(s) != nil {
				t.Errorf("accepted service %q", s)
			}
		}
	})
}
