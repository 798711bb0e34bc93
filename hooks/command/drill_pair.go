package command

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/wanfail/wanfail/hooks"
	"github.com/wanfail/wanfail/hooks/doctor"
	"github.com/wanfail/wanfail/hooks/drill"
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
	p.log.Debug("drill: the priority is lowered", "track_file", p.names())
	p.lowered.Store(true)
	return p.write(drill.Lowered)
}

// Restore implements drill.Router.
func (p *pair) Restore() error {
	p.lowered.Store(false)
	err := p.write(0)
	if err != nil {
		err = fmt.Errorf("%w; by hand, as soon as it can be written: echo 0 >%s", err, p.names())
		p.log.Error("drill: the priority is not put back", "error", err)
		return err
	}
	p.log.Debug("drill: the priority is put back", "track_file", p.names())
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
