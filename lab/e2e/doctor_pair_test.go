package e2e

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wanfail/wanfail/lab"
)

// testDoctorPair compares two routers by what doctor says on each.
func testDoctorPair(t *testing.T, seen map[string]bool) {
	w := build(t, 90*time.Second, lab.Options{Backend: lab.Init})
	ar0, ar1 := w.pair()
	p := w.alone(ar0, seen)
	w.alone(ar1, seen)
	p.args = []string{"--peer", "/root/peer.json"}
	// tell carries what doctor says on the other router over, with a change.
	tell := func(change ...string) {
		t.Helper()
		out, _ := w.code(ar1, "wanfail", "doctor", "--json")
		for at := 0; at < len(change); at += 2 {
			if !strings.Contains(out, change[at]) {
				t.Fatalf("no %s in %s", change[at], out)
			}
			out = strings.ReplaceAll(out, change[at], change[at+1])
		}
		w.must(ar0.WriteFile("/root/peer.json", out, 0o644))
	}
	tell()
	p.healthy()

	// differ changes a file of the other router, and then puts it back.
	differ := func(path, from, to string) (provoke func(), byHand func(string)) {
		text, err := ar1.ReadFile(path)
		w.must(err)
		return func() {
				t.Helper()
				changed := strings.Replace(text, from, to, 1)
				if changed == text {
					t.Fatalf("%s of %s has no %q", path, ar1.Name, from)
				}
				w.must(ar1.WriteFile(path, changed, 0o644))
				tell()
			}, func(string) {
				w.must(ar1.WriteFile(path, text, 0o644))
				tell()
			}
	}
	priority := func(r *lab.Router) string {
		text, err := r.ReadFile(keepalivedConf)
		w.must(err)
		return regexp.MustCompile(`(?m) priority \d+`).FindString(text)
	}
	for _, c := range []struct{ id, path, from, to string }{
		{"peer-macaddr", wanfailConf, "2e:62:67", "2e:62:68"},
		{"peer-clientid", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption clientid '01aabb'"},
		{"peer-vendorclass", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption vendorclass 'x'"},
		{"peer-userclass", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption userclass 'x'"},
		{"peer-hostname", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption hostname 'ar1'"},
		{"peer-sendopt", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\tlist sendopt '90:00'"},
		{"peer-request", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption request '90'"},
		{"peer-broadcast", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption broadcast '1'"},
		{"peer-rapidcommit", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption rapidcommit '1'"},
		{"peer-expect", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption expect '203.0.114.0/24'"},
		{"peer-instance", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption instance 'VI_1'"},
		{"peer-defaultroute", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption defaultroute '0'"},
		{"peer-peerdns", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption peerdns '0'"},
		{"peer-metric", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption metric '5'"},
		{"peer-mtu", wanfailConf, "config wan 'wan'", "config wan 'wan'\n\toption mtu '1400'"},
		{"peer-service", wanfailConf, "list service 'miniupnpd'", ""},
		{"peer-conntrackd", wanfailConf, "option conntrackd '0'", "option conntrackd 'auto'"},
		{"peer-backup-gateway", wanfailConf, "option conntrackd '0'", "option conntrackd '0'\n\toption backup_gateway '192.168.77.1'"},
		{"peer-authentication", keepalivedConf, "advert_int 0.10", "advert_int 0.10\n version 2\n authentication {\n auth_type PASS\n auth_pass x\n }"},
		{"peer-unicast", keepalivedConf, "advert_int 0.10", "advert_int 0.10\n unicast_peer {\n 192.168.77.2\n }"},
		{"peer-unicast-peer", keepalivedConf, "advert_int 0.10", "advert_int 0.10\n unicast_peer {\n 192.168.77.9\n }"},
		{"peer-interface", keepalivedConf, "interface eth1", "interface eth3"},
		{"peer-wan", wanfailConf, "config wan 'wan'", "config wan 'wan2'\n\toption parent 'eth3'\n\toption macaddr '02:00:00:00:00:02'\n\nconfig wan 'wan'"},
		{"peer-vrrp", keepalivedConf, "VI_1", "VI_2"},
		{"peer-virtual-router-id", keepalivedConf, "virtual_router_id 77", "virtual_router_id 78"},
		{"peer-vrrp-version", keepalivedConf, "advert_int 0.10", "advert_int 0.10\n version 2"},
		{"peer-advert-int", keepalivedConf, "advert_int 0.10", "advert_int 1"},
		{"peer-virtual-ipaddress", keepalivedConf, lab.VIP.String(), "192.168.77.9/24"},
		{"peer-priority", keepalivedConf, priority(ar1), priority(ar0)},
	} {
		f := fault{id: c.id, with: map[string][]string{
			"peer-authentication": {"peer-vrrp-version"}, "peer-unicast-peer": {"peer-unicast"},
		}[c.id]}
		f.provoke, f.byHand = differ(c.path, c.from, c.to)
		p.suffer(f)
	}
	p.suffer(fault{id: "peer-options", provoke: func() { tell(`"options"`, `"formerly"`) }, byHand: func(string) { tell() }})
	// Both have it, and each says so of itself.
	p.suffer(fault{
		id: "peer-state", with: []string{"vrrp-state"},
		provoke: func() {
			for _, r := range []*lab.Router{ar0, ar1} {
				w.run(r, "sed", "-i", "s/state BACKUP/state MASTER/", keepalivedConf)
			}
			tell()
		},
		byHand: func(string) {
			for _, r := range []*lab.Router{ar0, ar1} {
				w.run(r, "sed", "-i", "s/state MASTER/state BACKUP/", keepalivedConf)
			}
			tell()
		},
	})
	version := strings.Fields(w.out(ar0, "wanfail", "--version"))
	mine := `"version": "` + version[len(version)-1] + `"`
	p.suffer(fault{
		id: "peer-version", provoke: func() { tell(mine, `"version": "v0.1.0"`) }, byHand: func(string) { tell() },
	})
	p.suffer(fault{
		id: "peer-role",
		provoke: func() {
			w.run(ar1, "nft", "insert", "rule", "inet", "filter", "input", "ip", "protocol", "112", "drop")
			w.becomesPrimary(ar1)
			tell()
		},
		byHand: func(string) {
			w.run(ar1, "nft", "-f", "/etc/nftables.conf")
			w.becomesBackup(ar1)
			tell()
		},
	})
	p.healthy()
}

// alone is a router on which doctor finds nothing.
func (w *world) alone(r *lab.Router, seen map[string]bool) *patient {
	w.Helper()
	w.run(r, "sysctl", "-w", "net.ipv6.conf.eth2.disable_ipv6=1")
	p := &patient{world: w, Router: r, seen: seen}
	p.documented()
	p.must(p.WriteFile("/etc/sysctl.d/60-port.conf", "net.ipv6.conf.eth2.disable_ipv6=1\n", 0o644))
	return p
}

// testDoctorProbe asks the ISP only when nobody can be using the shared address.
func testDoctorProbe(t *testing.T, seen map[string]bool) {
	w := build(t, 60*time.Second, lab.Options{Backend: lab.Init})
	ar0, ar1 := w.pair()
	p := w.alone(ar1, seen)
	sent, err := ar1.RecordSent()
	w.must(err)
	refused := func(why string) {
		t.Helper()
		if out, code := w.code(ar1, "wanfail", "doctor", "--probe"); code != 1 || !strings.Contains(out, "no probe: "+why) {
			t.Errorf("exit %d: %s", code, out)
		}
		if n, f, _ := sent.Frames(); n > 0 {
			t.Errorf("the refused probe said %s", f)
		}
	}
	refused("keepalived runs and has said BACKUP")
	w.must(ar1.StopKeepalived(w.ctx))
	w.becomesBackup(ar1)
	refused(lab.VIP.Addr().String() + " answers on eth1: the peer is master")
	out, _ := w.code(ar0, "wanfail", "doctor", "--json")
	w.must(ar1.WriteFile("/root/peer.json", out, 0o644))
	// The file knows of a peer that cannot be asked.
	w.must(w.l.Cut(ar1.LAN()))
	p.args = []string{"--peer", "/root/peer.json"}
	if out, code := w.code(ar1, "wanfail", "doctor", "--probe", "--peer", "/root/peer.json"); code != 1 || !strings.Contains(out, "the peer is primary, its file says") {
		t.Errorf("exit %d: %s", code, out)
	}
	w.must(w.l.Plug(ar1.LAN()))
	if n, f, _ := sent.Frames(); n > 0 {
		t.Errorf("the refused probe said %s", f)
	}

	w.must(ar0.StopKeepalived(w.ctx))
	w.becomesBackup(ar0)
	granted := func() int {
		return strings.Count(w.l.ISP.ServerLog(), "DHCPACK") + strings.Count(w.l.ISP.ServerLog(), "DHCPREQUEST")
	}
	offered := func() int { return strings.Count(w.l.ISP.ServerLog(), "DHCPOFFER") }
	before, offers := granted(), offered()
	leases, err := w.l.ISP.ReadFile("/var/lib/misc/isp.leases")
	w.must(err)
	p.args = []string{"--probe", "--wait", "300ms"}
	p.healthyProbe()
	if n, f, last := sent.Frames(); n != 1 {
		t.Errorf("%d frames, from %s to %s; want one", n, f, last)
	}
	if granted() != before || offered() != offers+1 {
		t.Errorf("%d offers and %d grants, before %d and %d", offered(), granted(), offers, before)
	}
	if now, err := w.l.ISP.ReadFile("/var/lib/misc/isp.leases"); err != nil || now != leases {
		t.Errorf("leases were %q and are %q (%v)", leases, now, err)
	}

	p.suffer(fault{
		id: "probe-silent", provoke: func() { w.l.ISP.StopServer() },
		byHand: func(string) { w.must(w.l.ISP.StartServer(w.ctx, lab.Dnsmasq)) },
	})
	// A neighbour's router, plugged in the wrong way round.
	var rogue *lab.Process
	stop := func(string) { rogue.Stop(2 * time.Second) }
	start := func(options ...string) {
		w.run(ar0, "ip", "address", "replace", "203.0.114.2/24", "dev", "eth2")
		var err error
		rogue, err = ar0.Start(w.ctx, "dnsmasq", append([]string{
			"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth2", "--bind-interfaces", "--no-ping", "--log-facility=-",
			"--dhcp-authoritative", "--dhcp-leasefile=/run/rogue.leases", "--dhcp-range=203.0.114.150,203.0.114.160,255.255.255.0,1h",
		}, options...)...)
		w.must(err)
		w.eventually("the other server", func() (bool, error) {
			select {
			case <-rogue.Done():
				return false, errors.New(rogue.Output())
			default:
			}
			return strings.Contains(rogue.Output(), "DHCP, IP range"), nil
		})
	}
	p.suffer(fault{id: "probe-servers", provoke: func() { start() }, byHand: stop})
	p.suffer(fault{
		id:      "probe-unusable",
		provoke: func() { w.l.ISP.StopServer(); start("--dhcp-option-force=1,255.0.255.0") },
		byHand:  func(f string) { stop(f); w.must(w.l.ISP.StartServer(w.ctx, lab.Dnsmasq)) },
	})
	p.suffer(fault{id: "probe", with: []string{"parent", "vrrp-fault"}, provoke: func() { w.run(ar1, "ip", "link", "set", "dev", "eth2", "down") }})
	w.must(sent.Close())
}

func (p *patient) healthyProbe() {
	p.Helper()
	if found, code := p.diagnose(); code != 0 {
		p.Errorf("exit %d: %+v", code, found)
	}
}
