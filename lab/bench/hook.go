package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// Contestant is a way to get an address in a hook.
type Contestant struct {
	Name string
	// Hook is what keepalived would call.
	Hook []string
	// forget is run before each round, while the WAN is down.
	forget []string
	down   []string
	// keeps: has what it needs when the server is dead.
	keeps bool
	slow  bool // fewer rounds
}

const script = "/usr/local/sbin/primary-backup-"

// The contestants. Each finds the server with a lease for it, as in a failover;
// those that could remember theirs are made to forget, except for Remembered.
var (
	Cold = Contestant{
		Name: "wanfail, cold", Hook: []string{"wanfail", "primary"}, down: []string{"wanfail", "backup"},
		forget: []string{"rm", "-f", "/run/wanfail/wan.lease"},
	}
	Remembered = Contestant{
		Name: "wanfail, remembered lease", Hook: []string{"wanfail", "primary"}, down: []string{"wanfail", "backup"},
		keeps: true,
	}
	NoKeeper = Contestant{
		Name: "wanfail, no keeper running, cold", Hook: []string{"wanfail", "primary"}, down: []string{"wanfail", "backup"},
		forget: []string{"sh", "-c", "systemctl stop wanfail; rm -f /run/wanfail/wan.lease"},
	}
	Udhcpc   = byScript("script + udhcpc", "udhcpc", nil)
	Dhclient = byScript("script + dhclient", "dhclient", []string{"sh", "-c", "rm -f /var/lib/dhcp/dhclient*.leases"})
	Dhcpcd   = byScript("script + dhcpcd", "dhcpcd", []string{"sh", "-c", "rm -f /var/lib/dhcpcd/*.lease"})
	DhcpcdA  = byScript("script + dhcpcd -A", "dhcpcdA", []string{"sh", "-c", "rm -f /var/lib/dhcpcd/*.lease"})
	Networkd = byScript("script + systemd-networkd", "networkd",
		[]string{"sh", "-c", "rm -rf /run/systemd/netif/leases/*; mkdir -p /etc/systemd/network; cp /root/wan.network /etc/systemd/network/; systemctl start systemd-networkd"})
)

func byScript(name, client string, forget []string) Contestant {
	return Contestant{
		Name: name, Hook: []string{script + client, "primary"}, down: []string{script + client, "backup"},
		forget: forget, slow: client == "dhcpcd",
	}
}

// clients are the lines of the scripts that get the address, and that let go.
var clients = map[string][2]string{
	"udhcpc":   {"udhcpc -b -i wan -p /run/udhcpc.wan.pid -s /etc/udhcpc/default.script", "kill $(pidof udhcpc)"},
	"dhclient": {"dhclient -pf /run/dhclient.wan.pid wan", "kill $(pidof dhclient)"},
	"dhcpcd":   {"dhcpcd wan", dhcpcdStop},
	"dhcpcdA":  {"dhcpcd -A wan", dhcpcdStop},
	"networkd": {"networkctl up wan", networkdStop},
}

// networkdStop stops the socket, too, which would start networkd again with the
// next link, of another contestant.
const networkdStop = "systemctl stop systemd-networkd.socket systemd-networkd; rm -f /etc/systemd/network/wan.network"

// dhcpcdStop waits: a dhcpcd that still ends makes the next one fail.
const dhcpcdStop = `dhcpcd -x wan
	n=0
	while pidof dhcpcd >/dev/null; do
		n=$((n+1))
		[ $n -lt 60 ] || kill -9 $(pidof dhcpcd)
		sleep 0.05
	done`

const networkdFile = `[Match]
Name=wan
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
`

// Contestants are all of them.
func Contestants() []Contestant {
	return []Contestant{Remembered, Cold, NoKeeper, Udhcpc, Dhclient, DhcpcdA, Dhcpcd, Networkd}
}

// Rig is a router with one WAN, without keepalived: the hooks are called by us.
type Rig struct {
	l      *lab.Lab
	r      *lab.Router
	relay  *Relay
	routes chan stamped
	done   chan struct{}
	ping   *icmp.PacketConn
	seq    int
}

type stamped struct {
	at  time.Time
	add bool
	gw  netip.Addr
}

// NewRig builds one, with wanfail installed.
func NewRig(ctx context.Context) (*Rig, error) { return newRig(ctx, lab.Wanfail) }

func newRig(ctx context.Context, scheme lab.Scheme) (_ *Rig, err error) {
	g := &Rig{routes: make(chan stamped, 64), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if g.l, err = lab.New(ctx, lab.Options{Scheme: scheme, Services: []string{"none"}}); err != nil {
		return nil, err
	}
	g.r = g.l.Router(0)
	if g.relay, err = NewRelay("isp-isp", "isp"); err != nil {
		return nil, err
	}
	for name, c := range clients {
		text := fmt.Sprintf(`#!/bin/sh
case "$1" in
primary)
	ip link add wan link eth2 address %s type macvlan mode bridge
	ip link set wan up
	%s
	;;
backup)
	%s
	ip link del wan
	;;
esac
exit 0
`, lab.SharedMAC(), c[0], c[1])
		if err := g.r.WriteFile(script+name, text, 0o755); err != nil {
			return nil, err
		}
	}
	if err := g.r.WriteFile("/root/wan.network", networkdFile, 0o644); err != nil {
		return nil, err
	}
	if err := g.r.Net(g.listen); err != nil {
		return nil, err
	}
	return g, nil
}

// listen opens what is needed in the router's namespace.
func (g *Rig) listen() (err error) {
	updates := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribe(updates, g.done); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	go func() {
		for u := range updates {
			gw, _ := netip.AddrFromSlice(u.Gw.To4())
			if u.Family != unix.AF_INET || u.Dst != nil && u.Dst.IP != nil && !u.Dst.IP.IsUnspecified() {
				continue
			}
			select {
			case g.routes <- stamped{time.Now(), u.Type == unix.RTM_NEWROUTE, gw}:
			default: // no test waits for it
			}
		}
	}()
	g.ping, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	return err
}

// Close ends it.
func (g *Rig) Close() error {
	close(g.done)
	var errs error
	if g.ping != nil {
		errs = g.ping.Close()
	}
	if g.relay != nil {
		errs = errors.Join(errs, g.relay.Close())
	}
	if g.l != nil {
		errs = errors.Join(errs, g.l.Close())
	}
	return errs
}

// Server sets the round trip to the DHCP server, or kills it.
func (g *Rig) Server(roundTrip time.Duration, dead bool) { g.relay.Set(roundTrip, dead) }

// errNever: there was no usable WAN within the limit.
var errNever = errors.New("no usable WAN")

// Round runs a contestant's hook and returns the time from the making of its
// process to a default route through which the gateway answers.
func (g *Rig) Round(ctx context.Context, c Contestant, limit time.Duration) (took time.Duration, err error) {
	if len(c.forget) > 0 {
		if _, err := g.r.Run(ctx, c.forget[0], c.forget[1:]...); err != nil {
			return 0, err
		}
	}
	for len(g.routes) > 0 {
		<-g.routes
	}
	// The hook may outlast the measurement, but not the round.
	hook, err := g.r.Start(ctx, c.Hook[0], c.Hook[1:]...)
	if err != nil {
		return 0, err
	}
	at, err := g.usable(ctx, limit)
	took = at.Sub(hook.Started)
	if err == nil {
		// The route comes before the client has settled.
		select {
		case <-hook.Done():
		case <-time.After(5 * time.Second):
		}
	}
	hook.Stop(0) // if it still runs
	if down := g.down(ctx, c); down != nil {
		return 0, errors.Join(down, fmt.Errorf("the hook of %s printed: %s", c.Name, hook.Output()))
	}
	return took, err
}

func (g *Rig) usable(ctx context.Context, limit time.Duration) (time.Time, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		select {
		case r := <-g.routes:
			if !r.add || r.gw != lab.Gateway {
				continue
			}
			return g.answer(limit)
		case <-timeout.C:
			return time.Time{}, errNever
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}

// answer pings the gateway until it replies.
func (g *Rig) answer(limit time.Duration) (time.Time, error) {
	const again = 5 * time.Millisecond
	buf := make([]byte, 1500)
	for end := time.Now().Add(limit); time.Now().Before(end); {
		g.seq++
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: g.seq & 0xffff}}
		b, err := m.Marshal(nil)
		if err != nil {
			return time.Time{}, err
		}
		// Until address and route are both there this fails: try again.
		_, sent := g.ping.WriteTo(b, &net.IPAddr{IP: lab.Gateway.AsSlice()})
		_ = g.ping.SetReadDeadline(time.Now().Add(again))
		for sent == nil {
			n, from, err := g.ping.ReadFrom(buf)
			if err != nil {
				break
			}
			at := time.Now()
			if reply, err := icmp.ParseMessage(1, buf[:n]); err == nil && reply.Type == ipv4.ICMPTypeEchoReply && from.String() == lab.Gateway.String() {
				return at, nil
			}
		}
		if sent != nil {
			time.Sleep(again / 5)
		}
	}
	return time.Time{}, errNever
}

// down ends a round: no link is left of it.
func (g *Rig) down(ctx context.Context, c Contestant) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("not within 15 s"))
	defer cancel()
	if _, err := g.r.Run(ctx, c.down[0], c.down[1:]...); err != nil {
		return err
	}
	return lab.Eventually(ctx, "end of the WAN of "+c.Name, func() (bool, error) {
		link, err := g.r.Link("wan")
		return link == nil, err
	})
}

// roundTrips to the DHCP server.
var roundTrips = []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond}

// HookResult is the time from hook to usable WAN, by contestant.
type HookResult struct {
	Contestant Contestant
	Alive      []Series // for each of roundTrips
	Dead       Series
}

// measureHooks lets the contestants take turns.
func measureHooks(ctx context.Context, o Options) (results []HookResult, err error) {
	g, err := NewRig(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	rounds, slow, limit := 11, 2, 20*time.Second
	if o.Quick {
		rounds, slow, limit = 3, 1, 8*time.Second
	}
	for _, c := range Contestants() {
		results = append(results, HookResult{Contestant: c, Alive: make([]Series, len(roundTrips))})
	}
	// The first round of each warms what is read from the disk.
	for i := range results {
		if _, err := g.Round(ctx, results[i].Contestant, limit); err != nil {
			return nil, fmt.Errorf("%s: %w", results[i].Contestant.Name, err)
		}
	}
	for round := range rounds {
		for i, rtt := range roundTrips {
			g.Server(rtt, false)
			for n := range results {
				r := &results[n]
				if round >= slow && r.Contestant.slow {
					continue
				}
				if r.Contestant.keeps {
					// The round before, of another contestant, was another client.
					if err := g.prime(ctx, r.Contestant, limit); err != nil {
						return nil, err
					}
				}
				if err := g.into(ctx, &r.Alive[i], r.Contestant, limit); err != nil {
					return nil, err
				}
			}
		}
		o.tell("hook to usable WAN: round %d of %d", round+1, rounds)
	}
	return results, g.dead(ctx, o, results, rounds)
}

// prime makes sure that a lease is remembered.
func (g *Rig) prime(ctx context.Context, c Contestant, limit time.Duration) error {
	if _, err := g.r.ReadFile("/run/wanfail/wan.lease"); err == nil {
		return nil
	}
	_, err := g.Round(ctx, c, limit)
	return err
}

// dead measures without a server. Who remembers nothing is given one chance.
func (g *Rig) dead(ctx context.Context, o Options, results []HookResult, rounds int) error {
	limit := 10 * time.Second
	if o.Quick {
		limit = 3 * time.Second
	}
	g.Server(0, false)
	for i := range results {
		r := &results[i]
		n := 1
		if r.Contestant.keeps {
			n = rounds
			if err := g.prime(ctx, r.Contestant, limit); err != nil {
				return err
			}
		}
		g.Server(0, true)
		for range n {
			if err := g.into(ctx, &r.Dead, r.Contestant, limit); err != nil {
				return err
			}
		}
		g.Server(0, false)
	}
	return nil
}

func (g *Rig) into(ctx context.Context, s *Series, c Contestant, limit time.Duration) error {
	took, err := g.Round(ctx, c, limit)
	s.Limit = limit
	switch {
	case errors.Is(err, errNever):
		s.Failed++
	case err != nil:
		return fmt.Errorf("%s: %w", c.Name, err)
	default:
		s.add(took)
	}
	return nil
}
