package hostile

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/wanfail/wanfail/lab"
)

// rogue is a DHCP server on the ISP's segment that answers as an attack wants it.
type rogue struct {
	*raw
	requests atomic.Int32
	mu       sync.Mutex
	answer   func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
	last     *dhcpv4.DHCPv4
}

func (w *world) rogue() *rogue {
	w.Helper()
	w.l.ISP.StopServer()
	r := &rogue{raw: w.raw(w.l.ISP.Node)}
	var done sync.WaitGroup
	done.Go(r.serve)
	w.Cleanup(func() {
		_ = r.SetReadDeadline(time.Unix(1, 0))
		done.Wait()
	})
	return r
}

func (r *rogue) serve() {
	buf := make([]byte, 2048)
	for {
		n, _, err := r.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			continue // the queue was full
		}
		m, ok := lab.Frame{Data: buf[:n]}.DHCP()
		if !ok || m.OpCode != dhcpv4.OpcodeBootRequest {
			continue
		}
		r.requests.Add(1)
		r.mu.Lock()
		r.last = m
		var all []*dhcpv4.DHCPv4
		if r.answer != nil {
			all = r.answer(m)
		}
		r.mu.Unlock()
		for _, a := range all {
			r.send(r.frame(a))
		}
	}
}

// frame is an answer on the wire, from the ISP's router.
func (r *rogue) frame(m *dhcpv4.DHCPv4) []byte {
	to, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !to.IsValid() || to.IsUnspecified() || !m.ClientIPAddr.IsUnspecified() {
		to = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return udp(lab.SharedMAC(), evilMAC, netip.AddrPortFrom(to, 68), netip.AddrPortFrom(lab.Gateway, 67), m.ToBytes())
}

// gives makes the server grant this lease to everybody.
func (r *rogue) gives(addr string, mods ...dhcpv4.Modifier) {
	prefix := netip.MustParsePrefix(addr)
	r.does(func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		kind := dhcpv4.MessageTypeAck
		if m.MessageType() == dhcpv4.MessageTypeDiscover {
			kind = dhcpv4.MessageTypeOffer
		}
		return []*dhcpv4.DHCPv4{reply(m, kind, prefix, mods...)}
	})
}

func (r *rogue) does(answer func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// reply is a complete answer, before the attack changes it.
func reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, prefix netip.Prefix, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	all := append([]dhcpv4.Modifier{
		dhcpv4.WithReply(m), dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(prefix.Addr().AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(prefix.Bits(), 32)),
		dhcpv4.WithServerIP(lab.Gateway.AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lab.Gateway.AsSlice())),
		dhcpv4.WithRouter(lab.Gateway.AsSlice()), dhcpv4.WithLeaseTime(3600),
	}, mods...)
	a, err := dhcpv4.New(all...)
	if err != nil {
		panic(err)
	}
	return a
}

// option is a raw one.
func option(code uint8, b ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b))
}

// classless is option 121 (RFC 3442), all through the ISP's router.
func classless(prefixes ...string) dhcpv4.Modifier {
	var b []byte
	for _, s := range prefixes {
		p := netip.MustParsePrefix(s)
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
		b = append(b, lab.Gateway.AsSlice()...)
	}
	return option(121, b...)
}
