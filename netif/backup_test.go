package netif

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestBackupDefault(t *testing.T) {
	b := newBench(t)
	b.withLAN()
	vip, other := "192.0.2.254", "192.0.2.253"
	rules, routes := ip(t, "rule"), ip(t, "route", "show", "table", "all")
	ensure := func(what string, gw string, changed bool, steps ...string) {
		t.Helper()
		b.steps = nil
		got, err := b.EnsureBackupDefault(t.Context(), addr(gw))
		if got != changed || err != nil || !slices.Equal(b.steps, steps) {
			t.Errorf("%s: %v, %v, steps %q, want %v, %q", what, got, err, b.steps, changed, steps)
		}
	}
	ensure("first", vip, true, "add backup route", "add backup rule", "add backup rule")
	ensure("again", vip, false)
	ensure("another gateway", other, true, "add backup route", "delete backup route")
	if got, err := b.BackupDefaults(t.Context()); err != nil || len(got) != 1 || got[0].Gateway != addr(other) {
		t.Errorf("listed: %v, %v", got, err)
	}
	ip(t, "rule", "del", "priority", fmt.Sprint(BackupPriority))
	ensure("a rule was deleted", other, true, "add backup rule")
	ip(t, "rule", "add", "iif", "lo", "lookup", fmt.Sprint(BackupTable), "priority", "77", "protocol", fmt.Sprint(BackupProtocol))
	ensure("a rule of another version", other, true, "delete backup rule")
	ip(t, "rule", "add", "iif", "lo", "lookup", "77", "priority", "78")
	ip(t, "route", "add", "default", "via", "192.0.2.77", "metric", "5")
	if got, err := b.RemoveBackupDefault(t.Context()); !got || err != nil {
		t.Errorf("remove: %v, %v", got, err)
	}
	if got, err := b.RemoveBackupDefault(t.Context()); got || err != nil {
		t.Errorf("remove again: %v, %v", got, err)
	}
	// Others' stay.
	ip(t, "rule", "del", "priority", "78")
	ip(t, "route", "del", "default", "via", "192.0.2.77")
	if r := ip(t, "rule"); r != rules {
		t.Errorf("rules left:\n%s", r)
	}
	if r := ip(t, "route", "show", "table", "all"); r != routes {
		t.Errorf("routes left:\n%s", r)
	}
	for what, gw := range map[string]string{"own address": "192.0.2.1", "not reachable": "203.0.113.1", "no host": "224.0.0.1"} {
		if got, err := b.EnsureBackupDefault(t.Context(), addr(gw)); got || err == nil {
			t.Errorf("gateway that is %s: %v, %v", what, got, err)
		}
	}
	ip(t, "route", "add", "203.0.113.0/24", "via", "192.0.2.77")
	if got, err := b.EnsureBackupDefault(t.Context(), addr("203.0.113.1")); got || err == nil {
		t.Errorf("gateway behind another: %v, %v", got, err)
	}
}

// TestBackupDefaultOfAnEarlierVersion: that was in the main table, for everybody.
func TestBackupDefaultOfAnEarlierVersion(t *testing.T) {
	b := newBench(t)
	b.withLAN()
	for name, clean := range map[string]func() (bool, error){
		"backup":  func() (bool, error) { return b.EnsureBackupDefault(t.Context(), addr("192.0.2.254")) },
		"primary": func() (bool, error) { return b.RemoveBackupDefault(t.Context()) },
	} {
		b.mainClean = false // as in a process that has just started
		ip(t, "route", "add", "default", "via", "192.0.2.254", "metric", "10000", "proto", fmt.Sprint(BackupProtocol))
		if changed, err := clean(); !changed || err != nil {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
		if r := ip(t, "route", "show", "default"); r != "" {
			t.Errorf("%s: left %q", name, r)
		}
	}
}

// TestBackupDefaultIsForOwnTrafficOnly: a forwarded packet must not take it, nor
// make an entry, and what this router sends must, whatever the main table says.
func TestBackupDefaultIsForOwnTrafficOnly(t *testing.T) {
	b := newBench(t)
	b.gateway()
	lan := b.withLAN()
	b.masquerade(lan)
	peer := peerOf(t, lan, "client0")
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatal(err)
	}
	if _, err := b.EnsureBackupDefault(t.Context(), lanIP); err != nil {
		t.Fatal(err)
	}
	peer.take()
	for range 3 {
		if err := forward(t, lan); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(settle)
	for _, f := range peer.take() {
		if f.etherType() == etherTypeIPv4 && f.data[14+9] == unix.IPPROTO_UDP {
			t.Errorf("a client's packet went out of the LAN again: %v", f)
		}
	}
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flows {
		if f.Forward.DstIP.String() == "203.0.113.9" {
			t.Errorf("a client's packet has an entry: %v", f)
		}
	}

	own := func(what string) {
		t.Helper()
		if out := ip(t, "route", "get", "203.0.113.9"); !strings.Contains(out, "via "+lanIP.String()+" dev lan0") {
			t.Errorf("%s: own traffic takes %s", what, out)
		}
	}
	own("no other route")
	ip(t, "route", "add", "default", "via", "192.0.2.77", "metric", "4000000000")
	own("another default route in the main table")
	ip(t, "route", "del", "default", "via", "192.0.2.77")
	b.apply(lease("198.51.100.7/24"))
	if err := b.Mute(t.Context(), wan); err != nil {
		t.Fatal(err)
	}
	own("a WAN that is mute")
	ip(t, "route", "add", "203.0.113.0/28", "via", "192.0.2.77")
	if out := ip(t, "route", "get", "203.0.113.9"); !strings.Contains(out, "192.0.2.77") {
		t.Errorf("a more specific route is passed over: %s", out)
	}
	// The answer to what it sends must pass a strict check of the way back.
	setSysctl(t, "net/ipv4/conf/lan0/rp_filter", "1")
	ip(t, "route", "del", "203.0.113.0/28")
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	router := macOf(t, "lan0")
	var client net.HardwareAddr
	lan.Do(t, func() error {
		client = macOf(t, "client0")
		return nil
	})
	local := conn.LocalAddr().(*net.UDPAddr)
	answer := udp(uint16(local.Port))
	answer[0], answer[1] = 0, 9
	lan.Do(t, func() error {
		return inject("client0", ipv4Frame(router, client, addr("203.0.113.9"), addr("192.0.2.1"), unix.IPPROTO_UDP, answer))
	})
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 16)); err != nil {
		t.Errorf("the answer by way of the LAN was dropped: %v", err)
	}
}

func macOf(t *testing.T, device string) net.HardwareAddr {
	t.Helper()
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		t.Error(err)
		return nil
	}
	return ifi.HardwareAddr
}

func TestWatchTellsOfRules(t *testing.T) {
	b := newBench(t)
	b.withLAN()
	if _, err := b.EnsureBackupDefault(t.Context(), lanIP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, err := b.Watch(ctx)
	defer func() {
		cancel()
		for range events {
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Kind != Resync {
		t.Fatalf("first event: %v", e.Kind)
	}
	defer ip(t, "rule", "del", "lookup", "77", "priority", "5")
	for _, args := range [][]string{
		{"rule", "add", "lookup", "77", "priority", "5"}, // somebody else's
		{"rule", "del", "priority", fmt.Sprint(BackupPriority + 1)},
	} {
		ip(t, args...)
	}
	select {
	case e := <-events:
		if e.Kind != RouteGone {
			t.Errorf("event: %+v", e)
		}
	case <-time.After(5 * time.Second):
		t.Error("nobody was told of the deleted rule")
	}
	if _, err := b.RemoveBackupDefault(t.Context()); err != nil {
		t.Error(err)
	}
}
