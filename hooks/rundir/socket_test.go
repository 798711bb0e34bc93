package rundir

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListenMode: at no moment can another user connect, whatever the umask is.
func TestListenMode(t *testing.T) {
	d := At(place(t) + "/d")
	must(t, d.Make())
	for _, mask := range []int{0, 0o777} {
		withUmask(mask, func() {
			var most atomic.Uint32
			done, watched := make(chan struct{}), make(chan struct{})
			go func() { // sees each mode that lasts for a few microseconds
				defer close(watched)
				var st unix.Stat_t
				for {
					select {
					case <-done:
						return
					default:
					}
					if unix.Lstat(d.Path(SocketFile), &st) == nil {
						most.Store(most.Load() | st.Mode&0o777)
					}
				}
			}()
			for range 500 {
				l, err := d.Listen()
				must(t, err)
				if got := mode(t, d.Path(SocketFile)); got != 0o600 {
					t.Fatalf("umask %04o: mode %04o", mask, got)
				}
				must(t, l.Close())
			}
			close(done)
			<-watched
			if got := most.Load(); got&^0o600 != 0 {
				t.Errorf("umask %04o: the socket had mode %04o for a moment", mask, got)
			}
		})
	}
}

// TestPeer: root's callers are served, others are refused at both ends.
func TestPeer(t *testing.T) {
	d := At(place(t) + "/d")
	if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNobodyListens) {
		t.Errorf("without a directory: %v", err)
	}
	must(t, d.Make())
	if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNobodyListens) {
		t.Errorf("without a socket: %v", err)
	}
	l, err := d.Listen()
	must(t, err)
	defer l.Close()
	accept := func() *net.UnixConn {
		c, err := l.AcceptUnix()
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c, err := d.Dial(t.Context())
	must(t, err)
	defer c.Close()
	if err := Trusted(accept()); err != nil {
		t.Errorf("root is refused: %v", err)
	}
	asUser(t, user, func() {
		if _, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("a user reaches the socket: %v", err)
		}
	})
	// An administrator may have opened the file to others: they are told apart all the same.
	must(t, os.Chmod(d.Path(SocketFile), 0o666))
	asUser(t, user, func() {
		c, err := net.Dial("unix", d.Path(SocketFile))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = c.Close() })
	})
	if err := Trusted(accept()); err == nil || !strings.Contains(err.Error(), "uid 1000") {
		t.Errorf("a user is trusted: %v", err)
	}
}

// TestForeignListener: a hook does not ask another user's process.
func TestForeignListener(t *testing.T) {
	d := At(place(t) + "/d")
	must(t, d.Make())
	must(t, os.Chmod(d.String(), 0o777))
	var l net.Listener
	asUser(t, user, func() {
		var err error
		if l, err = net.Listen("unix", d.Path(SocketFile)); err != nil {
			t.Error(err)
		}
	})
	must(t, os.Chmod(d.String(), 0o755))
	defer l.Close()
	if _, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "uid 1000") {
		t.Errorf("got %v", err)
	}
}
