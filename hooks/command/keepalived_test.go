package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// pairing is a router with a keeper and a real keepalived, a peer of which there
// is only the keepalived, and an ISP with a real DHCP server.
type pairing struct {
	t               *testing.T
	image, dir, bin string
	router          *nstest.NS
	peer            *nstest.NS
	isp             *nstest.NS
}

func newPairing(t *testing.T) *pairing {
	t.Helper()
	p := &pairing{t: t, image: nstest.Image(t), dir: t.TempDir(), bin: filepath.Join(install(t), "wanfail"), router: nstest.New(t), peer: nstest.New(t)}
	isp := nstest.New(t)
	p.connect(p.router, "eth2", isp, "isp0")
	p.connect(p.router, "eth1", p.peer, "eth1")
	p.address(isp, "isp0", "100.64.10.1/24")
	p.address(p.router, "eth1", "192.168.10.2/24")
	p.address(p.peer, "eth1", "192.168.10.3/24")
	isp.Daemon(t, p.image, "dnsmasq", "--keep-in-foreground", "--user=root", "--conf-file=/dev/null", "--pid-file=", "--port=0",
		"--interface=isp0", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=/run/leases",
		"--dhcp-range=100.64.10.100,100.64.10.120,255.255.255.0,3600", "--dhcp-option=3,100.64.10.1")
	p.isp = isp
	if err := os.WriteFile(filepath.Join(p.dir, "wanfail.conf"),
		[]byte("config wanfail\n\toption service none\nconfig wan wan\n\toption parent eth2\n\toption macaddr 02:68:71:2e:62:67\n\toption arp_interval 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pairing) connect(a *nstest.NS, name string, b *nstest.NS, other string) {
	p.t.Helper()
	a.Do(p.t, func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: other, PeerNamespace: netlink.NsFd(b.FD())}
		return errors.Join(netlink.LinkAdd(veth), netlink.LinkSetUp(veth))
	})
	b.Do(p.t, func() error {
		l, err := netlink.LinkByName(other)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

func (p *pairing) address(ns *nstest.NS, name, addr string) {
	p.t.Helper()
	ns.Do(p.t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, a)
	})
}

// config is keepalived's, with the lines of one router.
func (p *pairing) config(priority int, more string) string {
	return fmt.Sprintf(`global_defs {
	script_user root
	vrrp_version 3
}
track_file wanfail_drill {
	file %s/drill
	weight 1
	init_file 0 overwrite
}
vrrp_instance VI_1 {
	state BACKUP
	interface eth1
	virtual_router_id 51
	priority %d
	advert_int 0.1
	virtual_ipaddress {
		192.168.10.1/24 dev eth1
	}
	%s
}
`, p.dir, priority, more)
}

// started is a process in the background.
type started struct {
	out     lines
	process *os.Process
	stop    func()
}

// await waits until it has said something.
func (s *started) await(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(s.out.String(), what) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never said: %s\n%s", what, s.out.String())
		}
	}
}

// start runs a process in ns until stop is called or the test ends.
func (p *pairing) start(ns *nstest.NS, name string, args ...string) *started {
	p.t.Helper()
	s := &started{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ns.Do(p.t, cmd.Start)
	s.process = cmd.Process
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("%s said:\n%s", filepath.Base(name), s.out.String())
		}
	})
	p.t.Cleanup(s.stop)
	return s
}

// keepalived runs the image's, with its own libraries but on this file system,
// where its hooks are.
func (p *pairing) keepalived(ns *nstest.NS, file string) *started {
	p.t.Helper()
	// The dynamic linker is what runs; under this name its hooks know their parent.
	// It is mounted there, not copied: a process that another test forks would have
	// the copy open for writing for a moment, and it could not be started.
	loader := filepath.Join(p.dir, "keepalived")
	if _, err := os.Lstat(loader); err != nil {
		p.write(loader, "", 0o755)
		mount(p.t, p.image+"/lib64/ld-linux-x86-64.so.2", loader, unix.MS_BIND, "")
	}
	libs := p.image + "/lib/x86_64-linux-gnu:" + p.image + "/usr/lib/x86_64-linux-gnu"
	return p.start(ns, loader, "--library-path", libs, p.image+"/usr/sbin/keepalived",
		"--dont-fork", "--log-console", "--use-file", file, "--pid", file+".pid", "--vrrp_pid", file+".vrrp")
}

func (p *pairing) args(args ...string) []string {
	return append([]string{"--config", p.dir + "/wanfail.conf", "--run-dir", p.dir + "/run"}, args...)
}

// wanfail runs the program on the router.
func (p *pairing) wanfail(args ...string) (out string, code int) {
	p.t.Helper()
	cmd := exec.Command(p.bin, p.args(args...)...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	p.router.Do(p.t, func() error { _ = cmd.Run(); return nil })
	return b.String(), cmd.ProcessState.ExitCode()
}

func (p *pairing) await(what string, args ...string) string {
	p.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, _ := p.wanfail(args...)
		if strings.Contains(out, what) {
			return out
		}
		if time.Now().After(end) {
			p.t.Fatalf("%v never says %q:\n%s", args, what, out)
		}
	}
}

// overlay makes a directory of this computer writable for this test alone.
func overlay(t *testing.T, dir string) {
	t.Helper()
	base, err := os.MkdirTemp("/run", "overlay") // a tmpfs of ours
	if err != nil {
		t.Fatal(err)
	}
	upper, work := base+"/upper", base+"/work"
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755),
		unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)); err != nil {
		t.Fatalf("cover %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func (p *pairing) write(name, text string, mode os.FileMode) {
	p.t.Helper()
	syscall.ForkLock.RLock() // see install
	defer syscall.ForkLock.RUnlock()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, mode)); err != nil {
		p.t.Fatal(err)
	}
}

// hooks are keepalived's four lines.
func (p *pairing) hooks() (all string) {
	for _, h := range [][2]string{{"master", "primary"}, {"backup", "backup"}, {"fault", "fault"}, {"stop", "stop"}} {
		all += fmt.Sprintf("notify_%s \"%s %s\"\n", h[0], p.bin, strings.Join(p.args(h[1]), " "))
	}
	return all
}

// The drill and user scripts with a real keepalived.
func TestWithKeepalived(t *testing.T) {
	overlay(t, "/etc")
	p := newPairing(t)
	script := p.dir + "/events"
	p.write("/etc/wanfail/hooks.d/events", "#!/bin/sh\necho \"$1 $WANFAIL_ADDRESS\" >>"+script+"\n", 0o755)
	p.write("/etc/keepalived/keepalived.conf", p.config(200, "track_file {\nwanfail_drill\n}\n"+p.hooks()), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(100, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)

	p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	p.keepalived(p.router, "/etc/keepalived/keepalived.conf")
	p.await("state     bound", "status")
	p.await("gateway answers", "check")
	peer := p.keepalived(p.peer, p.dir+"/peer/k.conf")
	// A backup sends nothing that would show whether it runs: only the drill itself
	// can find out.
	if out, code := p.wanfail("drill"); code != 2 || !strings.Contains(out, "--yes") {
		t.Errorf("drill without a terminal: %d, %s", code, out)
	}
	out, code := p.wanfail("drill", "--yes", "--hold", "300ms", "--limit", "10s")
	if code != 0 {
		t.Fatalf("drill: %d\n%s", code, out)
	}
	t.Log("\n" + out)
	at := 0
	for _, want := range []string{
		"VI_1, for wan", "stays master all the time", "priority lowered to 1", "wan backup, by keepalived[", "  silent after",
		"priority put back", "wan primary, by keepalived[", "  address after", "everything is as before", "192.168.10.1 unanswered for at most ",
	} {
		next := strings.Index(out[at:], want)
		if next < 0 {
			t.Errorf("the drill does not say %q, or too early:\n%s", want, out)
			continue
		}
		at += next
	}
	if raw, err := os.ReadFile(p.dir + "/drill"); err != nil || strings.TrimSpace(string(raw)) != "0" {
		t.Errorf("the track_file holds %q, %v", raw, err)
	}

	// Without a peer this router stays master all the time.
	peer.stop()
	since := sinceLine(p.await("\"role\": \"primary\"", "status", "--json"))
	out, code = p.wanfail("drill", "--yes", "--limit", "1s")
	if code != 1 || !strings.Contains(out, "the peer did not take over: this router stayed master all the time") {
		t.Errorf("drill without a peer: %d\n%s", code, out)
	}
	now, _ := p.wanfail("status", "--json")
	if got := sinceLine(now); got != since {
		t.Errorf("the role was lost meanwhile: %s, before %s", got, since)
	}

	// The events that the scripts were called for.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		raw, _ := os.ReadFile(script)
		text := string(raw)
		if strings.Count(text, "bound 100.64.10.1") == 2 && strings.Count(text, "lost") == 1 && strings.Count(text, "primary") == 2 && strings.Count(text, "backup") == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("scripts got:\n%s", text)
		}
	}
}

// sinceLine is the moment of the last change in a report.
func sinceLine(report string) string {
	for line := range strings.Lines(report) {
		if strings.Contains(line, `"since"`) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// A WAN line that fails for both routers must not move the role; a port without a
// cable must. The weights are those of packaging/keepalived/keepalived-check.conf.
func TestCheckWithKeepalived(t *testing.T) {
	p := newPairing(t)
	script := func(name, args, weight string) string {
		return fmt.Sprintf("vrrp_script %s {\nscript \"%s %s\"\ninterval 1\ntimeout 1\nfall 2\nrise 1\n%s\n}\n", name, p.bin, strings.Join(p.args(strings.Fields(args)...), " "), weight)
	}
	file := p.dir + "/k/keepalived.conf"
	p.write(file, script("wanfail_router", "check --local", "")+script("wanfail_line", "check", "weight -20")+
		p.config(250, "track_script {\nwanfail_router\nwanfail_line\n}\n"+p.hooks()), 0o644)
	p.write(p.dir+"/peer/k.conf", strings.ReplaceAll(p.config(220, ""), p.dir+"/drill", p.dir+"/peer/drill"), 0o644)
	p.start(p.router, p.bin, p.args("keeper")...)
	p.await("role      backup", "status")
	log := p.keepalived(p.router, file)
	p.keepalived(p.peer, p.dir+"/peer/k.conf")
	p.await("gateway answers", "check")
	since := sinceLine(p.await(`"state": "bound"`, "status", "--json"))

	isp := func(f func(netlink.Link) error) {
		t.Helper()
		p.isp.Do(t, func() error {
			l, err := netlink.LinkByName("isp0")
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	gateway, err := netlink.ParseAddr("100.64.10.1/24")
	if err != nil {
		t.Fatal(err)
	}
	isp(func(l netlink.Link) error { return netlink.AddrDel(l, gateway) })
	p.await("gateway 100.64.10.1 does not answer", "check")
	if out, code := p.wanfail("check", "--local"); code != 0 {
		t.Errorf("the line is no business of --local: %s", out)
	}
	log.await(t, "effective priority from 250 to 230")
	isp(func(l netlink.Link) error { return netlink.AddrAdd(l, gateway) })
	log.await(t, "effective priority from 230 to 250")
	now, _ := p.wanfail("status", "--json")
	if got := sinceLine(now); got != since || strings.Contains(log.out.String(), "FAULT") {
		t.Errorf("the role moved with the line: %s, before %s", got, since)
	}

	isp(netlink.LinkSetDown) // the carrier goes
	log.await(t, "Entering FAULT STATE")
	p.await("role      backup", "status")
	p.await("is in FAULT: this router cannot become master", "status")
	p.await("no carrier", "check")
	isp(netlink.LinkSetUp)
	p.await("gateway answers", "check")
}
