package matrix

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/lab/nstest"
)

// TestIdleCost: while a gigabit a second and more comes in over the WAN, the
// keeper sleeps. A client that leaves a packet socket open without a filter in
// the kernel would see every frame.
func TestIdleCost(t *testing.T) {
	const (
		span    = 3 * time.Second
		leastBy = int64(span/time.Second) * 1e9 / 8
	)
	l := newLine(t, nstest.Image(t), kind("dnsmasq"))
	l.serve(usual(time.Hour))
	r := l.router()
	r.become(intent.Primary)
	addr := r.holdsLease(time.Second)
	// The announcements of the first second have a packet socket.
	l.eventually("no packet socket is open", 5*time.Second, func() bool { return r.packetSockets() == 0 })

	flow := r.download(addr.Addr())
	first, before := flow.bytes(), cpu(t, r.keeper.cmd.Process.Pid)
	start := time.Now()
	select {
	case <-time.After(span):
	case <-flow.ended:
		t.Fatal("the traffic has ended: ", flow.err)
	}
	took, used := time.Since(start), cpu(t, r.keeper.cmd.Process.Pid)-before
	got := flow.bytes() - first
	if n := r.packetSockets(); n != 0 {
		t.Errorf("%d packet sockets are open", n)
	}
	share := float64(used) / float64(took)
	t.Logf("%.1f Gbit/s for %v cost the keeper %v of CPU time, %.3f %%", float64(got)*8/took.Seconds()/1e9, took, used, share*100)
	if got < leastBy {
		t.Fatalf("only %d bytes in %v: that is no load", got, took)
	}
	if share >= 0.01 {
		t.Errorf("the keeper took %.2f %% of a CPU", share*100)
	}
	if r.holds().addr != addr {
		t.Errorf("the kernel holds %+v", r.holds())
	}
}

// packetSockets counts those of the router's namespace.
func (r *router) packetSockets() int {
	var table []byte
	r.ns.Do(r.t, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/packet")
		return err
	})
	return bytes.Count(table, []byte("\n")) - 1 // without the headline
}

// cpu is how much time a process has run so far. /proc/PID/stat counts in ticks
// of 10 ms; the scheduler's own account is in nanoseconds.
func cpu(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of %d: %v, %v", pid, files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ran, _, _ := bytes.Cut(raw, []byte(" "))
		ns, err := strconv.ParseInt(string(ran), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// flow is TCP traffic from the ISP to a router.
type flow struct {
	r     *router
	ended chan struct{}
	err   error
}

// download sends to a router as fast as it goes, until the test ends.
func (r *router) download(to netip.Addr) *flow {
	r.t.Helper()
	var listener net.Listener
	r.ns.Do(r.t, func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(to, 5001).String())
		return err
	})
	r.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, bufio.NewReaderSize(c, 1<<20), make([]byte, 1<<20))
	}()
	var conn net.Conn
	r.isp.Do(r.t, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(context.WithoutCancel(r.ctx), "tcp4", listener.Addr().String())
		return err
	})
	r.t.Cleanup(func() { _ = conn.Close() })
	f := &flow{r: r, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		buf := make([]byte, 1<<20)
		for f.err == nil {
			_, f.err = conn.Write(buf)
		}
	}()
	return f
}

// bytes is what has arrived on the WAN interface so far.
func (f *flow) bytes() int64 {
	f.r.t.Helper()
	link, err := f.r.kernel.LinkByName(wanName)
	f.r.must(err)
	return int64(link.Attrs().Statistics.RxBytes)
}
