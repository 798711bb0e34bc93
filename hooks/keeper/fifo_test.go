package keeper_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
)

// channel is keepalived's side of its FIFO; the test plays keepalived.
type channel struct {
	*rig
	path    string
	in      *os.File
	readers []*exec.Cmd
	last    intent.Role // of the last line
}

func newChannel(t *testing.T, r *rig) *channel {
	c := &channel{rig: r, path: filepath.Join(r.state, "fifo")}
	playKeepalived(t)
	t.Cleanup(func() {
		c.killReaders()
		_ = c.in.Close()
	})
	c.open()
	return c
}

func (c *channel) open() {
	c.t.Helper()
	if err := unix.Mkfifo(c.path, 0o600); err != nil {
		c.t.Fatal(err)
	}
	fd, err := unix.Open(c.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	c.in = os.NewFile(uintptr(fd), c.path)
}

func (c *channel) write(role intent.Role) {
	c.last = role
	fmt.Fprintf(c.in, "INSTANCE \"VI_1\" %s 254\n", map[intent.Role]string{intent.Primary: "MASTER", intent.Backup: "BACKUP"}[role])
}

func (c *channel) startReader() {
	c.t.Helper()
	cmd := c.command(nil, "fifo", c.path)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.readers = append(c.readers, cmd)
}

// killReaders kills those that were started, whatever they do.
func (c *channel) killReaders() {
	for _, cmd := range c.readers {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	c.readers = nil
}

// reload is what keepalived does then: it closes and removes the FIFO, makes it
// anew and starts another reader, which a busy machine delays.
func (c *channel) reload(late time.Duration) {
	c.t.Helper()
	for _, cmd := range c.readers {
		_ = cmd.Process.Signal(unix.SIGTERM)
	}
	_ = c.in.Close()
	if err := os.Remove(c.path); err != nil {
		c.t.Fatal(err)
	}
	c.open()
	time.Sleep(late)
	c.startReader()
}

// Whoever reads keepalived's FIFO, and however long nobody does: no reload, killed
// reader or restarted keeper changes the role, and no line is lost. Each round is
// one of these, with a change of the role before, meanwhile or not at all.
func TestFIFOReaders(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(envStormSeed); s != "" {
		_, _ = fmt.Sscan(s, &seed)
	}
	t.Logf("%s=%d", envStormSeed, seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, false)
	c := newChannel(t, r)
	r.startKeeper()
	c.startReader()
	c.write(intent.Primary)
	r.eventually("primary", 20*time.Second, func() bool { return r.settled(intent.Primary) })
	for round := range 30 {
		before, flips, restarted := r.report().Changes, 0, false
		flip := func() {
			if dice.IntN(3) == 0 {
				c.write(intent.Primary - c.last)
				flips++
			}
		}
		flip()
		what := dice.IntN(4)
		if what != 0 {
			// A line that a reader has read is lost if it is killed before it records it.
			r.eventually(fmt.Sprintf("round %d: %s", round, c.last), 20*time.Second, func() bool { return r.settled(c.last) })
		}
		late := time.Duration(dice.IntN(4)) * 500 * time.Millisecond
		switch what {
		case 0:
			c.reload(late)
		case 1:
			c.killReaders()
		case 2:
			c.killReaders()
			// What nobody has opened is lost with the FIFO.
			r.eventually("the keeper reads", 10*time.Second, c.missed)
			flip()
			c.reload(late)
		case 3:
			r.killKeepers()
			if dice.IntN(2) == 0 {
				c.killReaders()
			}
			flip()
			r.startKeeper()
			restarted = true
		}
		flip()
		r.eventually(fmt.Sprintf("round %d, %d: %s", round, what, c.last), 20*time.Second, func() bool { return r.settled(c.last) })
		rep := r.report()
		if !restarted && rep.Changes > before+flips {
			t.Fatalf("round %d, %d: %d changes of the role, %d were asked for: %+v", round, what, rep.Changes-before, flips, rep.Transitions)
		}
		if restarted && c.last == intent.Primary && flips == 0 && rep.Changes != 0 {
			t.Fatalf("round %d: the restarted keeper has changed the role: %+v", round, rep.Transitions)
		}
		if len(rep.VRRP) != 1 || rep.VRRP[0].Role != c.last {
			t.Fatalf("round %d, %d: keepalived has said %s last, status has %+v", round, what, c.last, rep.VRRP)
		}
	}
}

// missed reports whether status misses a reader.
func (c *channel) missed() bool {
	rep := c.report()
	return rep != nil && strings.Contains(strings.Join(rep.Warnings, "\n"), "until keepalived is reloaded")
}

// Status says that the FIFO has lost its reader, and who reads it.
func TestFIFOReaderIsMissed(t *testing.T) {
	r := newRig(t, false)
	c := newChannel(t, r)
	r.startKeeper()
	c.startReader()
	c.write(intent.Primary)
	r.eventually("primary", 20*time.Second, func() bool { return r.settled(intent.Primary) })
	c.killReaders()
	r.eventually("a warning", 10*time.Second, c.missed)
	c.reload(0)
	r.eventually("no warning", 10*time.Second, func() bool { return !c.missed() })
	if !r.settled(intent.Primary) {
		t.Error(r.why)
	}
	// Nobody can read a FIFO that keepalived has given up.
	c.killReaders()
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	_ = c.in.Close()
	r.eventually("backup", 30*time.Second, func() bool { return r.settled(intent.Backup) })
	if by := r.report().By; !strings.Contains(by, "FIFO") {
		t.Errorf("backup by %s", by)
	}
}
