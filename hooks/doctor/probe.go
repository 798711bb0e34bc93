package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/wanfail/wanfail/dhcp"
	"github.com/wanfail/wanfail/hooks/config"
)

// Probe asks each WAN's ISP with one DISCOVER whether it would answer, for limit,
// and reports who does not.
func Probe(ctx context.Context, f *Facts, limit time.Duration) (all []Finding) {
	for _, w := range f.Config.WANs {
		c := w.DHCP
		c.Interface = w.Parent // the WAN may not be there
		ctx, cancel := context.WithTimeout(ctx, limit)
		offers, err := dhcp.Probe(ctx, c)
		cancel()
		all = append(all, judge(w, offers, err, f.bringUp(w.Parent))...)
	}
	return all
}

func judge(w config.WAN, offers []dhcp.Offer, err error, up string) (all []Finding) {
	switch {
	case err != nil:
		return one("probe", Error, w.Name+": "+err.Error(), "the ISP could not be asked", up)
	case len(offers) == 0:
		return one("probe-silent", Error, fmt.Sprintf("nobody answers a DISCOVER from %s on %s", w.MAC, w.Parent), "this router would have no lease as primary", "by hand: "+dhcp.NoAnswer.Text())
	}
	servers := map[netip.Addr]bool{}
	for _, o := range offers {
		servers[o.Server] = true
		if o.Lease == nil {
			all = append(all, one("probe-unusable", Error, fmt.Sprintf("the offer of %s on %s cannot be used: %v", o.Server, w.Parent, o.Refusal), "this router would have no lease as primary", "by hand: "+dhcp.Unusable.Text())...)
		}
	}
	if len(servers) > 1 {
		all = append(all, one("probe-servers", Warning, fmt.Sprintf("%d DHCP servers answer on %s", len(servers), w.Parent), "the routers may get addresses from different ones", "by hand: "+dhcp.OtherServer.Text())...)
	}
	return all
}
