package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/drill"
	"github.com/wanfail/wanfail/netif"
)

// pair is how a drill moves keepalived and what it watches.
type pair struct {
	log     *slog.Logger
	files   []*os.File // the track_files, locked
	lowered atomic.Bool
	reports chan hooks.Report
	sights  chan drill.Sight
}

// lock keeps other drills away from the track_files. It refuses a file that is
// not keepalived's, and what a drill that was killed has left.
func (p *pair) lock(names []string) error {
	for _, name := range names {
		// A lock needs no right to write, but the drill will.
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("there is no %s: keepalived makes it when it starts or reloads (init_file)", name)
		case err != nil:
			return err
		}
		p.files = append(p.files, f)
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("another drill runs: it has locked %s", name)
		case err != nil:
			return fmt.Errorf("lock %s: %w", name, err)
		}
		text := make([]byte, 64)
		n, _ := f.Read(text)
		if v := strings.TrimSpace(string(text[:n])); v != "" && v != "0" {
			return fmt.Errorf("%s holds %s, and no drill runs: one was killed. Put the priority back, and begin anew: echo 0 >%s", name, v, name)
		}
	}
	return nil
}

func (p *pair) unlock() {
	for _, f := range p.files {
		_ = f.Close()
	}
}

// Lower implements drill.Router.
func (p *pair) Lower() error {
	p.log.Info("drill: the priority is lowered", "track_file", p.names())
	p.lowered.Store(true)
	return p.write(drill.Lowered)
}

// Restore implements drill.Router.
func (p *pair) Restore() error {
	p.lowered.Store(false)
	err := p.write(0)
	if err != nil {
		err = fmt.Errorf("%w; by hand, as soon as it can be written: echo 0 >%s", err, p.names())
		p.log.Error("drill: the priority is not put back", "err", err)
		return err
	}
	p.log.Info("drill: the priority is put back", "track_file", p.names())
	return nil
}

func (p *pair) names() string {
	var all []string
	for _, f := range p.files {
		all = append(all, f.Name())
	}
	return strings.Join(all, " ")
}

// write writes a number to all files. keepalived reads one when it is closed.
func (p *pair) write(n int) (err error) {
	for _, f := range p.files {
		err = errors.Join(err, overwrite(f.Name(), fmt.Sprintln(n)))
	}
	return err
}

// overwrite replaces the content in place, which needs no room on a full disk; a
// number ends at the line's end, so what is left of a longer one in between does
// no harm.
func overwrite(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Close())
}

// Reports implements drill.Router.
func (p *pair) Reports() <-chan hooks.Report { return p.reports }

// Sights implements drill.Router.
func (p *pair) Sights() <-chan drill.Sight { return p.sights }

// virtual are the virtual addresses that the drill watches: of each instance
// that is master here the first that can be asked for.
func virtual(instances []*doctor.Instance, own map[string][]netip.Prefix) (all []doctor.VIP, err error) {
	some, master := false, false
	for _, i := range instances {
		here := false
		for _, v := range i.VIPs {
			some = true
			here = here || holds(own, v)
		}
		if !here {
			continue
		}
		master = true
		f := &doctor.Facts{Keepalived: &doctor.Keepalived{Instances: []*doctor.Instance{i}}, Addresses: own}
		if vips := f.VIPs(); len(vips) > 0 {
			all = append(all, vips[0])
		}
	}
	if some && !master {
		return nil, errors.New("this router is primary, but has none of the virtual addresses: keepalived is not master, and a drill would move nothing")
	}
	return all, nil
}

// holds reports whether this computer has an address of keepalived.conf.
func holds(own map[string][]netip.Prefix, vip string) bool {
	text, _, _ := strings.Cut(vip, "/")
	a, err := netip.ParseAddr(text)
	for _, prefixes := range own {
		for _, p := range prefixes {
			if err == nil && p.Addr() == a {
				return true
			}
		}
	}
	return false
}

const (
	askLimit = 10 * time.Millisecond  // for one answer
	askAgain = 20 * time.Millisecond  // while the role is to move
	askHeld  = 200 * time.Millisecond // while the peer is to hold it
	silence  = 500 * time.Millisecond // without an answer, and the peer has it no more
)

// watch tells who has a virtual address, from now on until ctx ends: the kernel
// says when it goes and comes here, and ARP meanwhile who has it there.
func (p *pair) watch(ctx context.Context, vip doctor.VIP) error {
	n, err := netif.New(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	updates := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribe(updates, ctx.Done()); err != nil {
		return errors.Join(fmt.Errorf("watch addresses: %w", err), n.Close())
	}
	v := &vigil{pair: p, VIP: vip, here: make(chan change, 64), who: drill.Here, last: time.Now()}
	go func() {
		for u := range updates {
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && a.Unmap() == vip.Address {
				v.here <- change{u.NewAddr, time.Now()}
			}
		}
	}()
	go func() {
		defer n.Close()
		v.keep(ctx, n)
	}()
	return nil
}

// vigil watches one virtual address.
type vigil struct {
	*pair
	doctor.VIP
	here chan change
	who  drill.Holder
	last time.Time // when somebody was last known to have it
}

// change is that the address has come here or gone.
type change struct {
	here bool
	at   time.Time
}

func (v *vigil) keep(ctx context.Context, n *netif.Manager) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		var asking <-chan time.Time // not while it is here
		if v.who != drill.Here {
			asking = pause.C
		}
		select {
		case <-ctx.Done():
			return
		case c := <-v.here:
			switch {
			case c.here:
				v.becomes(ctx, drill.Here, c.at)
			case v.who == drill.Here:
				v.last = c.at
				v.becomes(ctx, drill.Nobody, c.at)
			}
			pause.Reset(0)
			continue
		case <-asking:
		}
		limit, cancel := context.WithTimeout(ctx, askLimit)
		_, err := n.ProbeGateway(limit, v.Device, v.Source, v.Address) // asks once in that time
		cancel()
		now, again := time.Now(), time.Duration(0)
		switch {
		case err == nil:
			v.becomes(ctx, drill.Peer, now)
			again = askAgain
			if v.lowered.Load() {
				again = askHeld
			}
		case v.who == drill.Peer && now.Sub(v.last) > silence:
			v.becomes(ctx, drill.Nobody, now)
		case !errors.Is(err, context.DeadlineExceeded):
			again = askAgain // the port is down, say
		}
		pause.Reset(again)
	}
}

// becomes tells of a new holder.
func (v *vigil) becomes(ctx context.Context, who drill.Holder, at time.Time) {
	missing := max(0, at.Sub(v.last))
	if who != drill.Nobody {
		v.last = at
	}
	if who == v.who {
		return
	}
	v.who = who
	select {
	case v.sights <- drill.Sight{Address: v.Address, Who: who, At: at, Missing: missing}:
	case <-ctx.Done():
	}
}
