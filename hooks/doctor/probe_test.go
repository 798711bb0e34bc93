package doctor

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
	"github.com/wanfail/wanfail/hooks/keepalived"
)

func TestJudge(t *testing.T) {
	w := config.WAN{Name: "wan", Parent: "eth2", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	good := &dhcp.Lease{}
	for name, c := range map[string]struct {
		offers []dhcp.Offer
		err    error
		want   []string
	}{
		"answered":    {[]dhcp.Offer{{Server: a, Lease: good}, {Server: a, Lease: good}}, nil, nil},
		"silence":     {nil, nil, []string{"probe-silent"}},
		"two servers": {[]dhcp.Offer{{Server: a, Lease: good}, {Server: b, Lease: good}}, nil, []string{"probe-servers"}},
		"unusable":    {[]dhcp.Offer{{Server: a, Refusal: errors.New("no mask")}}, nil, []string{"probe-unusable"}},
		"failed":      {nil, errors.New("no such device"), []string{"probe"}},
	} {
		if got := ids(Diagnosis{Findings: judge(w, c.offers, c.err, "up")}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestVIPs(t *testing.T) {
	h := debian(t)
	f := h.facts
	h.sys.Gather(t.Context(), &f)
	want := []keepalived.VIP{{Device: "eth1", Source: netip.MustParseAddr("192.168.10.2"), Address: netip.MustParseAddr("192.168.10.1")}}
	if got := f.Keepalived.Instances[0].Askable(f.Addresses); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
