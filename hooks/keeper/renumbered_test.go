package keeper_test

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab/nstest"
)

// The ISP gives another address at a failover. The sessions of the old one, which the
// peer has passed on, end at once: nothing would answer them.
func TestRenumberedAcrossAFailover(t *testing.T) {
	w := newLine(t)
	root := nstest.Image(t)
	serve := func(pool string) (stop func()) {
		t.Helper()
		cmd := w.isp.Daemon(t, root, "dnsmasq",
			"--keep-in-foreground", "--user=root", "--conf-file=/dev/null", "--pid-file=", "--port=0", "--interface=isp0", "--no-ping",
			"--dhcp-authoritative", "--dhcp-leasefile=/run/leases", "--dhcp-option=3,100.64.10.1",
			"--dhcp-range="+pool+","+pool+",255.255.255.0,3600")
		w.served()
		return func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _, _ = cmd.Process.Wait() }
	}
	session := func(port uint16, wan string) {
		t.Helper()
		client, server := net.IPv4(192, 168, 77, 100).To4(), net.IPv4(203, 0, 113, 9).To4()
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, TimeOut: 600,
			Forward: netlink.IPTuple{SrcIP: client, DstIP: server, SrcPort: port, DstPort: 9, Protocol: unix.IPPROTO_UDP},
			Reverse: netlink.IPTuple{SrcIP: server, DstIP: net.ParseIP(wan).To4(), SrcPort: 9, DstPort: port, Protocol: unix.IPPROTO_UDP},
		}); err != nil {
			t.Fatal(err)
		}
	}
	left := func() map[uint16]bool {
		t.Helper()
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		ports := map[uint16]bool{}
		for _, f := range list {
			if f.Forward.DstIP.String() == "203.0.113.9" {
				ports[f.Forward.SrcPort] = true
			}
		}
		return ports
	}
	stop := serve("100.64.10.100")
	end := w.keeper()
	w.become(intent.Primary)
	w.become(intent.Backup)
	end() // the lease file is what a new keeper knows
	stop()
	session(4000, "100.64.10.100")
	session(4001, "100.64.10.120")
	defer serve("100.64.10.120")()
	w.keeper()
	w.become(intent.Primary)
	w.eventually("the other address", 5*time.Second, func() bool { _, addr, ok := w.holds(); return ok && addr == "100.64.10.120/24" })
	w.eventually("the end of the old session", time.Second*slow, func() bool { return !left()[4000] })
	if !left()[4001] {
		t.Error("a session of the present address was ended")
	}
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Error(err)
	}
}
