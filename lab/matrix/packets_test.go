package matrix

import (
	"encoding/binary"
	"flag"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab/image"
	"github.com/wanfail/wanfail/lab/nstest"
)

var update = flag.Bool("update", false, "write docs/dhcp-packets.md anew")

// docFile is relative to the root of the repository.
const docFile = "docs/dhcp-packets.md"

// client is a DHCP client whose packets are compared.
type client struct {
	name, what string
	// run starts it on a fresh host, or on one where it has been before, and
	// returns when it was started. It ends with kill.
	run func(r *router, again bool) (started time.Time, kill func())
}

var clients = []client{
	{"wanfail", "this checkout, the keeper running, `wanfail primary`", runWanfail},
	{"udhcpc", "`busybox udhcpc -f -i eth2`", inImage("obtained from", "busybox", "udhcpc", "-f", "-i", parent)},
	{"dhclient", "`dhclient -4 -d eth2`", inImage("bound to", "dhclient", "-4", "-d", parent)},
	{"dhcpcd", "`dhcpcd -4 -B eth2`", inImage("leased", "dhcpcd", "-4", "-B", parent)},
}

func runWanfail(r *router, again bool) (time.Time, func()) {
	if !again {
		r.must(os.WriteFile(r.config(), []byte("config wanfail\n list service none\n option conntrackd 0\nconfig wan "+wanName+
			"\n option parent "+parent+"\n option macaddr "+shared+"\n"), 0o600))
		r.keep()
	}
	start := time.Now()
	r.become(intent.Primary)
	return start, func() { r.become(intent.Backup) }
}

// inImage runs a client in a copy of the image that is its own. When it has said
// done it has a lease and has written it down.
func inImage(done string, argv ...string) func(*router, bool) (time.Time, func()) {
	const script = `cd "$1" && mkdir -p upper work root &&
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" root &&
mount -t proc proc root/proc && mount -t sysfs -o ro sysfs root/sys && mount -t tmpfs tmpfs root/run &&
shift 2 && : >ready && exec chroot root "$@"`
	return func(r *router, again bool) (time.Time, func()) {
		link, err := r.kernel.LinkByName(parent)
		r.must(err)
		if !again {
			mac, err := net.ParseMAC(shared)
			r.must(err)
			r.must(r.kernel.LinkSetHardwareAddr(link, mac))
		}
		ready := filepath.Join(r.dir, "ready")
		_ = os.Remove(ready)
		args := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, argv[0], r.dir, r.root}
		p := start(r.t, r.ns, nil, append(args, argv...)...)
		var started time.Time
		r.eventually("the client starts", 10*time.Second, func() bool {
			info, err := os.Stat(ready)
			if err == nil {
				started = info.ModTime()
			}
			return err == nil
		})
		return started, func() {
			// Killed earlier, it would not remember the lease.
			r.eventually("the client is content", 10*time.Second, func() bool { return strings.Contains(p.output(), done) })
			p.stop(unix.SIGKILL)
			addrs, err := r.kernel.AddrList(link, netlink.FAMILY_V4)
			r.must(err)
			for _, a := range addrs {
				r.must(r.kernel.AddrDel(link, &a))
			}
		}
	}
}

// acquisition is how a client got an address.
type acquisition struct {
	took     time.Duration // from the client's start to the address in the kernel
	messages []message     // the client's, until the ACK
	arp      int           // ARP packets of the client until the address
	first    time.Duration // from the start to the first message; negative: the address was there before
}

// acquire watches a client from its start until it has the address and an ACK.
func (c client) acquire(r *router, again bool) (a acquisition, kill func()) {
	r.t.Helper()
	sent, changes, acks := len(r.sent()), len(r.addrs.changes(0)), r.count(dhcpv4.MessageTypeAck)
	frames := len(r.wire.Frames(nil))
	started, kill := c.run(r, again)
	var at time.Time
	r.eventually(c.name+" has an address", 30*time.Second, func() bool {
		for _, ch := range r.addrs.changes(changes) {
			if ch.added {
				at = ch.at
			}
		}
		return !at.IsZero()
	})
	r.answers(dhcpv4.MessageTypeAck, acks+1, 20*time.Second)
	a.took = at.Sub(started)
	a.messages = r.sent()[sent:]
	a.first = a.messages[0].At.Sub(started)
	for _, f := range r.wire.Frames(nil)[frames:] {
		if _, ok := f.ARP(); ok && f.FromMachine && f.At.Before(at) {
			a.arp++
		}
	}
	return a, kill
}

// comparison is all acquisitions of a client.
type comparison struct {
	client
	cold, warm []acquisition
}

func TestPackets(t *testing.T) {
	root := nstest.Image(t)
	runs := 1
	if *update {
		runs = 7
	}
	all := make([]comparison, len(clients))
	t.Run("clients", func(t *testing.T) {
		for i, c := range clients {
			all[i].client = c
			t.Run(c.name, func(t *testing.T) {
				if !*update {
					t.Parallel() // the document has times, which want the computer for themselves
				}
				for range runs {
					l := newLine(t, root, kind("dnsmasq"))
					s := usual(time.Hour)
					s.extra = []string{"--dhcp-option=6," + s.addr.Addr().String(), "--dhcp-option=15,isp.test", "--dhcp-option=26,1500"}
					l.serve(s)
					r := l.host()
					cold, kill := c.acquire(r, false)
					kill()
					warm, kill := c.acquire(r, true)
					kill()
					all[i].cold, all[i].warm = append(all[i].cold, cold), append(all[i].warm, warm)
				}
			})
		}
	})
	if t.Failed() || slices.ContainsFunc(all, func(c comparison) bool { return c.cold == nil }) {
		return // -run may have left some out
	}
	repo, err := image.Repository()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(repo, docFile)
	doc := document(all, manifest(t, root))
	if *update {
		if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have, want := timeless(string(old)), timeless(doc); have != want {
		t.Errorf("%s is out of date: go test ./lab/matrix -run TestPackets -update\nit says\n%s\nbut it is\n%s", docFile, have, want)
	}
}

// timeless leaves out the lines with times, which differ each time, and what comes
// before the address: a busy machine may show the first announcement first.
func timeless(doc string) string {
	varies := func(s string) bool {
		return strings.Contains(s, "ms") || strings.Contains(s, " s |") || strings.Contains(s, "before the address |")
	}
	return strings.Join(slices.DeleteFunc(strings.Split(doc, "\n"), varies), "\n")
}

// manifest is the version of each package of the image.
func manifest(t *testing.T, root string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "lab-manifest"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, line := range strings.Split(string(raw), "\n") {
		if name, version, ok := strings.Cut(line, " "); ok {
			versions[name] = version
		}
	}
	return versions
}

// header are the fields of the IP and UDP headers.
func (m message) header() (tos, ttl byte, df, sum bool) {
	ip := m.Data[14:]
	udp := ip[int(ip[0]&0xf)*4:]
	return ip[1], ip[8], ip[6]&0x40 != 0, binary.BigEndian.Uint16(udp[6:]) != 0
}

// codes are the options in the order of the packet.
func (m message) codes() (codes []uint8) {
	ip := m.Data[14:]
	b := ip[int(ip[0]&0xf)*4+8+240:]
	for len(b) > 1 && b[0] != 255 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		codes = append(codes, b[0])
		b = b[2+int(b[1]):]
	}
	return codes
}
