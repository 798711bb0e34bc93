package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab"
)

// ScaleResult is a router with a number of WANs.
type ScaleResult struct {
	WANs int
	// Wanfail is from the hook to a default route for each WAN, Script to an
	// address for each: udhcpc's script has room for one default route only. Far
	// is Wanfail with a server that is farAway.
	Wanfail, Far, Script Series
	// Of the keeper while primary.
	RSS, Anonymous int // kB
	Promotion      time.Duration
	Idle           time.Duration // CPU time in a minute
}

// farAway is the round trip to the server of many an ISP.
const farAway = 20 * time.Millisecond

const scaleScript = "/usr/local/sbin/primary-backup-many"

// measureScale uses a router without services of its own.
func measureScale(ctx context.Context, o Options) (results []*ScaleResult, err error) {
	l, err := lab.New(ctx, lab.Options{Services: []string{"none"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r := l.Router(0)
	// As many leases as there are WANs. Nothing of it is written to a disk.
	l.ISP.StopServer()
	server, err := l.ISP.Start(ctx, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--port=0",
		"--interface=eth0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=/run/many.leases",
		"--dhcp-range=203.0.114.10,203.0.114.250,255.255.255.0,1h", "--dhcp-option=option:router,"+lab.Gateway.String())
	if err != nil {
		return nil, err
	}
	defer server.Stop(time.Second)
	rounds := 7
	if o.Quick {
		rounds = 2
	}
	for _, n := range []int{1, 8, 64} {
		s := &ScaleResult{WANs: n}
		results = append(results, s)
		if err := s.measure(ctx, r, rounds, o.Quick); err != nil {
			return nil, fmt.Errorf("%d WANs: %w", n, err)
		}
		if err := s.measureFar(ctx, r, rounds); err != nil {
			return nil, fmt.Errorf("%d WANs, server %v away: %w", n, farAway, err)
		}
		o.tell("scale: %d WANs", n)
	}
	return results, nil
}

func (s *ScaleResult) measure(ctx context.Context, r *lab.Router, rounds int, quick bool) error {
	var conf, list strings.Builder
	fmt.Fprint(&conf, "config wanfail 'globals'\n\tlist service 'none'\n\toption conntrackd '0'\n")
	for i := range s.WANs {
		mac := fmt.Sprintf("02:68:71:2e:63:%02x", i)
		fmt.Fprintf(&conf, "\nconfig wan 'wan%d'\n\toption parent 'eth2'\n\toption macaddr '%s'\n\toption metric '%d'\n", i, mac, i)
		fmt.Fprintf(&list, " wan%d/%s", i, mac)
	}
	text := fmt.Sprintf(`#!/bin/sh
case "$1" in
primary)
	for w in%s; do
		ip link add ${w%%/*} link eth2 address ${w#*/} type macvlan mode bridge
		ip link set ${w%%/*} up
		udhcpc -b -i ${w%%/*} -s /etc/udhcpc/default.script
	done
	;;
backup)
	kill $(pidof udhcpc)
	for w in%[1]s; do ip link del ${w%%/*}; done
	;;
esac
exit 0
`, list.String())
	if err := errors.Join(r.WriteFile("/etc/wanfail.conf", conf.String(), 0o644), r.WriteFile(scaleScript, text, 0o755)); err != nil {
		return err
	}
	if _, err := r.Run(ctx, "systemctl", "restart", "wanfail"); err != nil {
		return err
	}
	for round := range rounds {
		before, err := keeperCPU(ctx, r)
		if err != nil {
			return err
		}
		if err := s.cold(ctx, r, &s.Wanfail); err != nil {
			return err
		}
		if round == rounds-1 {
			if err := s.keeper(ctx, r, before, quick); err != nil {
				return err
			}
		}
		if err := s.demote(ctx, r, "wanfail", "backup"); err != nil {
			return err
		}
		if s.WANs > 8 && round >= 2 { // the script takes its time
			continue
		}
		took, err := s.promote(ctx, r, false, scaleScript, "primary")
		if err != nil {
			return err
		}
		s.Script.add(took)
		if err := s.demote(ctx, r, scaleScript, "backup"); err != nil {
			return err
		}
	}
	return nil
}

// measureFar measures what measure has prepared once more, with the server far
// away.
func (s *ScaleResult) measureFar(ctx context.Context, r *lab.Router, rounds int) (err error) {
	relay, err := NewRelay("isp-isp", "isp")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relay.Close()) }()
	relay.Set(farAway, false)
	for range rounds {
		if err := errors.Join(s.cold(ctx, r, &s.Far), s.demote(ctx, r, "wanfail", "backup")); err != nil {
			return err
		}
	}
	return nil
}

// cold makes wanfail primary, without a remembered lease.
func (s *ScaleResult) cold(ctx context.Context, r *lab.Router, series *Series) error {
	if _, err := r.Run(ctx, "sh", "-c", "rm -f /run/wanfail/*.lease"); err != nil {
		return err
	}
	took, err := s.promote(ctx, r, true, "wanfail", "primary")
	if err == nil {
		series.add(took)
	}
	return err
}

// promote runs a hook until each WAN has a default route, or an address.
func (s *ScaleResult) promote(ctx context.Context, r *lab.Router, routes bool, hook ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	links := make(chan int, 256)
	done := make(chan struct{})
	defer close(done)
	err := r.Net(func() error {
		if routes {
			updates := make(chan netlink.RouteUpdate, 256)
			go func() {
				for u := range updates {
					if u.Type == unix.RTM_NEWROUTE && u.Gw.String() == lab.Gateway.String() && u.Protocol > unix.RTPROT_KERNEL {
						links <- u.LinkIndex
					}
				}
			}()
			return netlink.RouteSubscribe(updates, done)
		}
		updates := make(chan netlink.AddrUpdate, 256)
		go func() {
			for u := range updates {
				if u.NewAddr && lab.WANPrefix.Contains(address(u.LinkAddress.IP)) {
					links <- u.LinkIndex
				}
			}
		}()
		return netlink.AddrSubscribe(updates, done)
	})
	if err != nil {
		return 0, err
	}
	p, err := r.Start(ctx, hook[0], hook[1:]...)
	if err != nil {
		return 0, err
	}
	seen := map[int]bool{}
	for len(seen) < s.WANs {
		select {
		case i := <-links:
			seen[i] = true
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d WANs: %w: %s", len(seen), s.WANs, context.Cause(ctx), p.Output())
		}
	}
	took := time.Since(p.Started)
	select {
	case <-p.Done():
	case <-ctx.Done():
	}
	return took, nil
}

func (s *ScaleResult) demote(ctx context.Context, r *lab.Router, hook ...string) error {
	if _, err := r.Run(ctx, hook[0], hook[1:]...); err != nil {
		return err
	}
	return lab.Eventually(ctx, "end of all WANs", func() (bool, error) {
		var left bool
		err := r.Netlink(func(h *netlink.Handle) error {
			all, err := h.LinkList()
			for _, l := range all {
				left = left || strings.HasPrefix(l.Attrs().Name, "wan")
			}
			return err
		})
		return !left, err
	})
}

// settled is when the last announcement has been sent and the keeper has given
// back what the transition needed.
const settled = 5 * time.Second

// keeper looks at the keeper while it is primary.
func (s *ScaleResult) keeper(ctx context.Context, r *lab.Router, before time.Duration, quick bool) error {
	pause := 10 * time.Second
	if quick {
		pause = 2 * time.Second
	}
	after, err := keeperCPU(ctx, r)
	if err != nil {
		return err
	}
	s.Promotion = after - before
	if err := sleep(ctx, settled); err != nil {
		return err
	}
	if s.Idle, err = keeperIdle(ctx, r, pause); err != nil {
		return err
	}
	s.RSS, s.Anonymous, err = keeperMemory(ctx, r)
	return err
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}
