package matrix

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/hooks/control"
	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab/nstest"
)

// TestConfiguration: what a person writes into the file is what is on the wire.
func TestConfiguration(t *testing.T) {
	root := nstest.Image(t)
	for _, c := range []struct {
		name, server string
		run          func(*line)
	}{
		{"identity", "dnsmasq", testIdentity},
		{"rapid commit", "dnsmasq", testRapidCommit},
		{"broadcast", "dnsmasq", testBroadcast},
		{"release", "kea", testRelease},
		{"release without the remembered server", "udhcpd", testRelease},
		{"no server", "dnsmasq", testNoServer},
		{"unexpected address", "isc", testUnexpected},
		{"keeper restarts", "kea", testKeeperRestarts},
		{"routes into other networks", "dnsmasq", testOtherNetworks},
		{"address in another network", "dnsmasq", testOtherAddress},
		{"MTU", "dnsmasq", testMTU},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(newLine(t, root, kind(c.server)))
		})
	}
}

// testIdentity: both routers are one client to the server, in each packet.
func testIdentity(l *line) {
	conf := []string{
		"option hostname home", "option vendorclass 'example 1.0'", "option userclass fiber",
		"option clientid 01:02:68:71:2e:62:67", "list request '125 120'", "list sendopt '90:000102'", "list sendopt '125:00000de900'",
	}
	s := hasty(l.kind)
	s.extra = []string{"--dhcp-option-force=125,00:00:0d:e9:00"}
	l.serve(s)
	a, b := l.router(conf...), l.router(conf...)
	want := map[uint8][]byte{
		12: []byte("home"), 60: []byte("example 1.0"), 77: append([]byte{5}, "fiber"...),
		61: {1, 2, 0x68, 0x71, 0x2e, 0x62, 0x67}, 90: {0, 1, 2}, 125: {0, 0, 0x0d, 0xe9, 0}, 57: {0x05, 0xc0},
	}
	a.become(intent.Primary)
	a.answers(dhcpv4.MessageTypeAck, 2, 10*time.Second) // one of them is a RENEW's
	if got := a.status().Options; !slices.Equal(got, []string{"125:00000de900"}) {
		l.t.Errorf("status has the options %q", got)
	}
	a.become(intent.Backup)
	b.become(intent.Primary)
	var lists [][]byte
	for _, m := range append(a.sent(), b.sent()...) {
		for code, value := range want {
			if got := m.m.Options[code]; !bytes.Equal(got, value) {
				l.t.Errorf("%s: option %d is %x, want %x", m.phase(), code, got, value)
			}
		}
		list := m.m.Options[55]
		if !bytes.Contains(list, []byte{125, 120}) {
			l.t.Errorf("%s asks for %v", m.phase(), list)
		}
		if lists = append(lists, list); !bytes.Equal(lists[0], list) {
			l.t.Errorf("%s asks for %v, the first message for %v", m.phase(), list, lists[0])
		}
		if m.m.IsBroadcast() {
			l.t.Errorf("%s has the broadcast flag, which nobody asked for", m.phase())
		}
	}
	if got, want := a.phases(0), []string{"DISCOVER", "REQUEST selecting", "REQUEST renewing"}; !slices.Equal(got, want) {
		l.t.Errorf("sent %q, want %q", got, want)
	}
}

// testRapidCommit: one packet each way.
func testRapidCommit(l *line) {
	s := usual(time.Hour)
	s.extra = []string{"--dhcp-rapid-commit"}
	l.serve(s)
	r := l.router("option rapidcommit 1")
	r.become(intent.Primary)
	r.holdsLease(time.Second)
	if got, want := r.phases(0), []string{"DISCOVER"}; !slices.Equal(got, want) {
		l.t.Errorf("sent %q, want %q", got, want)
	}
	// A server that has heard of it and a client that does not want it.
	other := l.router()
	r.become(intent.Backup)
	other.become(intent.Primary)
	if got, want := other.phases(0), []string{"DISCOVER", "REQUEST selecting"}; !slices.Equal(got, want) {
		l.t.Errorf("without the option: sent %q, want %q", got, want)
	}
}

// testBroadcast: the flag is in what is sent without an address, the answers to
// that are broadcast, and a RENEW has neither.
func testBroadcast(l *line) {
	l.serve(hasty(l.kind))
	r := l.router("option broadcast 1")
	r.become(intent.Primary)
	for n := 1; n <= 2; n++ {
		ack := r.answers(dhcpv4.MessageTypeAck, n, 10*time.Second)
		if first := n == 1; (ack.Dst()[0] == 0xff) != first {
			l.t.Errorf("ACK %d is for %v", n, ack.Dst())
		}
	}
	for _, m := range r.sent() {
		if m.m.IsBroadcast() != (m.phase() != "REQUEST renewing") {
			l.t.Errorf("%s: broadcast flag %v", m.phase(), m.m.IsBroadcast())
		}
	}
}

// testRelease: one RELEASE, from the address and to the server, and silence.
func testRelease(l *line) {
	l.serve(usual(time.Hour))
	a, b := l.router(), l.router()
	a.become(intent.Primary)
	addr := a.holdsLease(time.Second)
	if out, err := b.command("release"); err == nil {
		l.t.Errorf("a backup released: %s", out)
	}
	if out, err := a.command("release"); err != nil {
		l.t.Fatalf("release: %v\n%s", err, out)
	}
	if a.holds().index != 0 {
		l.t.Errorf("after the release the kernel holds %+v", a.holds())
	}
	if st := a.status(); st.Role != intent.Backup || st.State != "standby" {
		l.t.Errorf("status %+v", st)
	}
	if got, want := a.phases(0), []string{"DISCOVER", "REQUEST selecting", "RELEASE"}; !slices.Equal(got, want) {
		l.t.Fatalf("sent %q, want %q", got, want)
	}
	m := a.sent()[2]
	if m.m.ClientIPAddr.String() != addr.Addr().String() || m.m.ServerIdentifier().String() != l.service.addr.Addr().String() ||
		m.Dst()[0]&1 != 0 || m.m.ClientHWAddr.String() != shared || m.m.RequestedIPAddress() != nil {
		l.t.Errorf("RELEASE to %v: %s", m.Dst(), m.m.Summary())
	}
	if sent := a.sentShared(); len(sent) > 0 && !bytes.Equal(sent[len(sent)-1].Data, m.Data) {
		l.t.Errorf("after the RELEASE: %v", sent[len(sent)-1])
	}
	if files, _ := filepath.Glob(a.dir + "/*.lease"); len(files) != 0 {
		l.t.Errorf("remembered: %v", files)
	}
	// A second one has nothing to give back.
	if out, err := a.command("release"); err == nil {
		l.t.Errorf("released twice: %s", out)
	}
	if n := len(a.sent()); n != 3 {
		l.t.Errorf("%d messages after the second release, want 3", n)
	}
	if n := len(b.sent()); n != 0 {
		l.t.Errorf("the backup sent %d messages", n)
	}
	b.become(intent.Primary)
	b.holdsLease(time.Second)
}

// findings counts in a keeper's log how often each finding was told.
func (r *router) findings() map[string]int {
	n := map[string]int{}
	for _, line := range strings.Split(r.keeper.output(), "\n") {
		if _, rest, ok := strings.Cut(line, " diagnosis="); ok && strings.Contains(line, `msg="dhcp: `) {
			code, _, _ := strings.Cut(rest, " ")
			n[code]++
		}
	}
	return n
}

// testNoServer: no server answers. Status and log say so once, whatever the number
// of attempts, and take it back once.
func testNoServer(l *line) {
	l.address(usual(0).addr)
	r := l.router()
	if out, err := r.command("primary", "--wait", "100ms"); err == nil {
		l.t.Errorf("primary without a lease is fine: %s", out)
	}
	r.until("no answer", 10*time.Second, func(w control.WAN) bool { return w.Diagnosis == "no-answer" })
	l.eventually("a second DISCOVER", 10*time.Second, func() bool { return len(r.sent()) == 2 })
	l.serve(usual(time.Hour))
	r.until("bound", 20*time.Second, bound)
	sent := r.sent()
	for i, m := range sent[1:] {
		if wait := m.At.Sub(sent[i].At); m.phase() == "DISCOVER" && (wait < 3*time.Second<<i || wait > 5*time.Second<<i+slack) {
			l.t.Errorf("DISCOVER %d comes after %v", i+2, wait)
		}
		if m.phase() == "DISCOVER" && m.m.NumSeconds == 0 {
			l.t.Errorf("DISCOVER %d: secs is 0", i+2)
		}
	}
	if got := r.findings(); got["no-answer"] != 1 || got["ok"] != 1 || len(got) != 2 {
		l.t.Errorf("told %v", got)
	}
}

// testUnexpected: the address is not where the configuration says, as a modem
// without an uplink answers. It is refused, that is said once over any number of
// attempts, and the expected one is taken when it is there.
func testUnexpected(l *line) {
	s := usual(2 * time.Second)
	l.serve(s.in("192.168.100.1/24", "192.168.100.10", "192.168.100.20"))
	r := l.router("option expect 100.64.10.0/24")
	if out, err := r.command("primary", "--wait", "100ms"); err == nil {
		l.t.Errorf("primary without a lease is fine: %s", out)
	}
	w := r.until("unexpected address", 10*time.Second, func(w control.WAN) bool { return w.Diagnosis == "unexpected-address" })
	if w.Address.IsValid() || !strings.Contains(w.Detail, "100.64.10.0/24") {
		l.t.Errorf("status %+v", w)
	}
	r.answers(dhcpv4.MessageTypeOffer, 3, 20*time.Second)
	l.halt()
	l.serve(s)
	r.until("the expected address", 30*time.Second, bound)
	r.holdsLease(time.Second)
	if got := r.findings(); got["unexpected-address"] != 1 || got["ok"] != 1 {
		l.t.Errorf("told %v", got)
	}
}

// testKeeperRestarts: a keeper that is killed and started again goes on with the
// lease of the other, and asks once whether it is still good.
func testKeeperRestarts(l *line) {
	l.serve(usual(time.Hour))
	r := l.router()
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	before, changes := r.holds(), len(r.addrs.changes(0))
	r.keeper.stop(9)
	r.keep()
	r.answers(dhcpv4.MessageTypeAck, 2, 5*time.Second)
	r.until("bound", 5*time.Second, bound)
	if now := r.holds(); now.addr != addr || now.index != before.index {
		l.t.Errorf("the kernel holds %+v, before %+v", now, before)
	}
	if got, want := r.phases(2), []string{"REQUEST init-reboot"}; !slices.Equal(got, want) {
		l.t.Errorf("sent %q, want %q", got, want)
	}
	for _, c := range r.addrs.changes(changes) {
		if !c.added {
			l.t.Errorf("%+v", c)
		}
	}
	// What a crash leaves of the lease file is not trusted.
	r.keeper.stop(9)
	if err := os.WriteFile(filepath.Join(r.dir, wanName+".lease"), []byte(`{"version":1,`), 0o600); err != nil {
		l.t.Fatal(err)
	}
	r.keep()
	r.until("bound", 10*time.Second, bound)
	if now := r.holdsLease(time.Second); now != addr {
		l.t.Errorf("address %v, before %v", now, addr)
	}
}
