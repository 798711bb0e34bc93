package dhcp_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/lab/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAcquireRememberRenew(t *testing.T) {
	s, _ := newServer(t)
	file := filepath.Join(t.TempDir(), "wan.lease")
	start := time.Now()
	k := run(t, dhcp.Config{LeaseFile: file})
	l := k.bound()
	t.Logf("cold acquisition took %v", time.Since(start))
	if l.Prefix != leasedIP || l.Server != serverIP || l.Gateway != serverIP {
		t.Errorf("lease %+v", l)
	}
	k.client.Renew()
	k.until("renewing", func(u dhcp.Update) bool { return u.State == dhcp.Renewing })
	k.bound()
	k.stop()

	k = run(t, dhcp.Config{LeaseFile: file})
	first := <-k.updates
	if first.Lease == nil || first.Lease.Prefix != leasedIP {
		t.Fatalf("first update %+v", first)
	}
	k.bound()
	var kinds []dhcpv4.MessageType
	for _, r := range s.requests() {
		kinds = append(kinds, r.MessageType())
		t.Log(r.at.Sub(start), r.from, r.to, r.MessageType())
	}
}
