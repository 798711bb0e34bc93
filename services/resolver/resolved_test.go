//go:build !nosystemd

package resolver

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/lab/nstest"
)

// inImage starts a program of the lab's image in the test's own namespaces.
func inImage(t *testing.T, root, name string, arg ...string) {
	t.Helper()
	cmd := exec.Command("chroot", append([]string{root, name}, arg...)...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.String())
		}
	})
}

// dummyWAN makes a link with an address and a carrier, which resolved wants.
func dummyWAN(t *testing.T) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "isp"}
	addr, err := netlink.ParseAddr("203.0.113.7/24")
	if err != nil {
		t.Fatal(err)
	}
	peer := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "isp"}}
	for _, err := range []error{
		netlink.LinkAdd(veth), netlink.LinkSetUp(veth), netlink.LinkSetUp(peer), netlink.AddrAdd(veth, addr),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The real systemd-resolved, on a real message bus.
func TestResolved(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	root := nstest.Image(t)
	// resolved watches the host's name there.
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, "proc"), unix.MNT_DETACH) })
	for _, dir := range []string{"run/dbus", "run/systemd/resolve"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chown := exec.Command("chroot", root, "chown", "systemd-resolve:", "/run/systemd/resolve")
	if out, err := chown.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	bus := resolved{socket: filepath.Join(root, "run/dbus/system_bus_socket")}
	r := &Resolver{log: slog.New(slog.DiscardHandler), backends: []backend{bus, file{pathFile(filepath.Join(dir, "resolv.conf"))}}}
	dummyWAN(t)

	// Neither bus nor resolved, then a bus without resolved: the file it is.
	set(t, r, "wan", addrs("192.0.2.9"))
	inImage(t, root, "dbus-daemon", "--system", "--nofork", "--nopidfile")
	eventually(t, "the bus", func() bool {
		c, err := net.Dial("unix", bus.socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if way := set(t, r, "wan", addrs("192.0.2.9")); way != filepath.Join(dir, "resolv.conf") {
		t.Errorf("without resolved: %s", way)
	}

	inImage(t, root, "/lib/systemd/systemd-resolved")
	eventually(t, "resolved", func() bool { return bus.usable(t.Context()) })
	uplinks := func() string { return read(t, filepath.Join(root, "run/systemd/resolve/resolv.conf")) }
	if way := set(t, r, "wan", addrs("192.0.2.1", "2001:db8::53"), "isp.example"); way != "systemd-resolved" {
		t.Errorf("with resolved: %s", way)
	}
	eventually(t, "resolved's resolv.conf", func() bool {
		s := uplinks()
		return strings.Contains(s, "nameserver 192.0.2.1\n") && strings.Contains(s, "nameserver 2001:db8::53\n") &&
			strings.Contains(s, "search isp.example\n")
	})
	if got := read(t, filepath.Join(dir, "resolv.conf")); got != "" {
		t.Errorf("left in the file: %q", got)
	}
	set(t, r, "wan", addrs("192.0.2.2"))
	eventually(t, "the other server alone", func() bool {
		s := uplinks()
		return strings.Contains(s, "192.0.2.2") && !strings.Contains(s, "192.0.2.1") && !strings.Contains(s, "isp.example")
	})
	revert(t, r, "wan")
	revert(t, r, "wan")
	eventually(t, "no server", func() bool { return !strings.Contains(uplinks(), "192.0.2.") })

	if _, err := r.Set(t.Context(), "gone", addrs("192.0.2.1"), nil); err == nil || !strings.Contains(err.Error(), "no such link: gone") {
		t.Errorf("a link that does not exist: %v", err)
	}
	revert(t, r, "gone")
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// A bus that accepts and says nothing costs a bounded time.
func TestBusThatHangs(t *testing.T) {
	defer goleak.VerifyNone(t)
	socket := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if (resolved{socket: socket}).usable(ctx) {
		t.Error("usable")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}
