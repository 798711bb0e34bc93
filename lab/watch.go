package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/internal/sandbox"
)

// watchNetlink notes what happens to the WAN in the router's kernel, until the
// router is off.
func (t *Timeline) watchNetlink(r *Router, m *sandbox.Machine) error {
	ns := m.NetNS()
	done := make(chan struct{})
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	lost := func(err error) {
		select {
		case <-m.Dead():
		default:
			t.fail(fmt.Errorf("watch %s: %w", r.Name, err))
		}
	}
	err := errors.Join(
		netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{Namespace: &ns, ErrorCallback: lost, ReceiveBufferSize: 1 << 20}),
		netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{Namespace: &ns, ErrorCallback: lost, ReceiveBufferSize: 1 << 20}),
		netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: &ns, ErrorCallback: lost, ReceiveBufferSize: 1 << 20}),
	)
	var qdiscs *nl.NetlinkSocket
	if err == nil {
		qdiscs, err = nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_TC)
	}
	if err != nil {
		close(done)
		return fmt.Errorf("watch %s: %w", r.Name, err)
	}
	mutes := make(chan qdiscUpdate, 16)
	go func() {
		<-m.Dead()
		qdiscs.Close()
	}()
	go receiveQdiscs(qdiscs, mutes)
	go func() {
		defer close(done)
		w := netlinkWatch{t: t, r: r, eth1: -1, wan: -1}
		if l, err := r.Link("eth1"); err == nil && l != nil {
			w.eth1 = l.Attrs().Index
		}
		if l, err := r.Link("wan"); err == nil && l != nil {
			w.wan = l.Attrs().Index
		}
		for {
			select {
			case u, ok := <-links:
				if !ok {
					return
				}
				w.link(u)
			case u, ok := <-addrs:
				if !ok {
					return
				}
				w.addr(u)
			case u, ok := <-routes:
				if !ok {
					return
				}
				w.route(u)
			case u := <-mutes:
				w.qdisc(u)
			case <-m.Dead():
				return
			}
		}
	}()
	return nil
}

type netlinkWatch struct {
	t         *Timeline
	r         *Router
	eth1, wan int
	mute      bool
}

func (w *netlinkWatch) note(kind Kind, what, subject string) {
	if w.t.changed(w.r, what, subject) {
		w.t.add(Event{At: time.Now(), Node: w.r.Name, Kind: kind, Subject: subject})
	}
}

func (w *netlinkWatch) link(u netlink.LinkUpdate) {
	if u.Attrs().Name != "wan" {
		return
	}
	switch {
	case u.Header.Type == unix.RTM_DELLINK:
		w.wan = -1
		w.note(KindLink, "link", "gone")
	case u.IfInfomsg.Flags&unix.IFF_UP == 0:
		w.wan, w.mute = int(u.Index), false
		w.note(KindLink, "link", "down")
	case !w.mute:
		w.wan = int(u.Index)
		w.note(KindLink, "link", "up")
	}
}

// qdiscUpdate is that an interface has got a queueing discipline.
type qdiscUpdate struct {
	index int
	kind  string
}

// receiveQdiscs reads them until the socket is closed.
func receiveQdiscs(s *nl.NetlinkSocket, out chan<- qdiscUpdate) {
	for {
		messages, _, err := s.Receive()
		if err != nil {
			return
		}
		for _, m := range messages {
			if m.Header.Type != unix.RTM_NEWQDISC || len(m.Data) < nl.SizeofTcMsg {
				continue
			}
			attrs, err := nl.ParseRouteAttr(m.Data[nl.SizeofTcMsg:])
			if err != nil {
				continue
			}
			for _, a := range attrs {
				if a.Attr.Type == nl.TCA_KIND {
					out <- qdiscUpdate{int(nl.DeserializeTcMsg(m.Data).Ifindex), strings.TrimRight(string(a.Value), "\x00")}
				}
			}
		}
	}
}

// qdisc notes when what the WAN sends is dropped, and when it is not
// any more.
func (w *netlinkWatch) qdisc(u qdiscUpdate) {
	if u.index != w.wan {
		return
	}
	if w.mute = u.kind == "blackhole"; w.mute {
		w.note(KindLink, "link", "mute")
	} else {
		w.note(KindLink, "link", "up")
	}
}

func (w *netlinkWatch) addr(u netlink.AddrUpdate) {
	ip, ok := netip.AddrFromSlice(u.LinkAddress.IP.To4())
	if !ok {
		return
	}
	switch {
	case u.LinkIndex == w.eth1 && ip == w.r.l.VIP():
		state := map[bool]string{true: "up", false: "down"}[u.NewAddr]
		if w.t.changed(w.r, "vip", state) {
			w.t.add(Event{At: time.Now(), Node: w.r.Name, Kind: KindVIP, Subject: state, Detail: ip.String()})
		}
	case u.LinkIndex == w.eth1 || ip.IsLoopback() || !WANPrefix.Contains(ip):
	case u.NewAddr:
		w.note(KindAddr, "addr", ip.String())
	default:
		w.note(KindAddr, "addr", "gone")
	}
}

func (w *netlinkWatch) route(u netlink.RouteUpdate) {
	if u.Table != unix.RT_TABLE_MAIN || u.Gw == nil || u.Dst != nil && !isDefault(u.Dst.String()) {
		return
	}
	if u.Type == unix.RTM_NEWROUTE {
		w.note(KindRoute, "route", u.Gw.String())
	} else {
		w.note(KindRoute, "route", "gone")
	}
}

func isDefault(dst string) bool { return dst == "0.0.0.0/0" }

// watchHooks notes each start of the hook.
func (t *Timeline) watchHooks(r *Router, m *sandbox.Machine) error {
	path := binaryPath
	switch t.l.opt.Scheme {
	case Script, Careful:
		path = scriptPath
	case NoScheme:
		return nil
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	if err != nil {
		return fmt.Errorf("watch hooks: %w", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC, unix.AT_FDCWD, m.Path(path)); err != nil {
		return errors.Join(fmt.Errorf("watch %s of %s: %w", path, r.Name, err), unix.Close(fd))
	}
	go poll(m, fd, func(b []byte) {
		now := time.Now()
		for len(b) >= int(unsafe.Sizeof(unix.FanotifyEventMetadata{})) {
			// struct fanotify_event_metadata: event_len, vers, reserved,
			// metadata_len, mask, fd, pid
			length := binary.NativeEndian.Uint32(b[0:])
			if file := int32(binary.NativeEndian.Uint32(b[16:])); file >= 0 {
				_ = unix.Close(int(file))
			}
			pid := int(int32(binary.NativeEndian.Uint32(b[20:])))
			go t.hook(r, pid, path, now)
			b = b[min(int(length), len(b)):]
		}
	})
	return nil
}

// poll hands on what is read of a descriptor until the machine is dead.
func poll(m *sandbox.Machine, fd int, take func([]byte)) {
	f := os.NewFile(uintptr(fd), "events")
	go func() {
		<-m.Dead()
		_ = f.Close()
	}()
	for buf := make([]byte, 8192); ; {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		take(buf[:n])
	}
}

// hook names the role of a hook that has been started. The event comes while the
// process is still what it was before; a moment later it has its arguments, which
// on a busy computer may be a while.
func (t *Timeline) hook(r *Router, pid int, path string, at time.Time) {
	for range 4000 {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err != nil {
			return
		}
		if role, ok := hookRole(strings.Split(string(b), "\x00"), path); ok {
			if role != "" {
				t.add(Event{At: at, Node: r.Name, Kind: KindHook, Subject: role})
			}
			return
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// hookRole finds the role in the arguments of a hook; it is empty for other
// commands of the same program. A process that is not the hook (yet) is not ok.
func hookRole(args []string, path string) (role string, ok bool) {
	for i, a := range args {
		if a == path || i == 0 && a == filepath.Base(path) {
			args, ok = args[i+1:], true
			break
		}
		// A shell's -c has all in one argument.
		if _, rest, found := strings.Cut(a, path+" "); found {
			args, ok = strings.Fields(rest), true
			break
		}
	}
	if !ok || len(args) == 0 {
		return "", false
	}
	switch args[0] {
	case "primary", "backup", "master", "fault", "stop":
		return args[0], true
	case "notify":
		return strings.TrimSpace(strings.Join(args, " ")), true
	}
	return "", true
}

// pidfiles that daemons make when they are up and remove when they end.
var pidfiles = map[string]string{"dnsmasq.pid": "dnsmasq", "miniupnpd.pid": "miniupnpd"}

// watchServices notes when a daemon has made or removed its pid file: the same
// with systemd as without.
func (t *Timeline) watchServices(r *Router, m *sandbox.Machine) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch services: %w", err)
	}
	const events = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO
	if _, err := unix.InotifyAddWatch(fd, m.Path("/run"), events); err != nil {
		return errors.Join(fmt.Errorf("watch /run of %s: %w", r.Name, err), unix.Close(fd))
	}
	// Made with the machine, or by the first start of dnsmasq.
	dnsmasq := func() {
		_, _ = unix.InotifyAddWatch(fd, m.Path("/run/dnsmasq"), events)
		if _, err := os.Stat(m.Path("/run/dnsmasq/dnsmasq.pid")); err == nil {
			t.service(r, "dnsmasq.pid", true)
		}
	}
	dnsmasq()
	go poll(m, fd, func(b []byte) {
		for len(b) >= unix.SizeofInotifyEvent {
			mask := binary.NativeEndian.Uint32(b[4:])
			end := min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])), len(b))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			b = b[end:]
			if name == "dnsmasq" && mask&unix.IN_CREATE != 0 {
				dnsmasq()
				continue
			}
			t.service(r, name, mask&unix.IN_DELETE == 0)
		}
	})
	return nil
}

func (t *Timeline) service(r *Router, pidfile string, up bool) {
	name, ok := pidfiles[pidfile]
	if !ok {
		return
	}
	detail := map[bool]string{true: "started", false: "stopped"}[up]
	if t.changed(r, "service "+name, detail) {
		t.add(Event{At: time.Now(), Node: r.Name, Kind: KindService, Subject: name, Detail: detail})
	}
}
