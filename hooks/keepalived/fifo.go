package keepalived

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wanfail/wanfail/hooks/intent"
	"github.com/wanfail/wanfail/hooks/rundir"
)

// Notice is one line of keepalived's notify FIFO (keepalived.conf(5), NOTIFY
// SCRIPTS): INSTANCE "VI_1" MASTER 254.
type Notice struct {
	Scope string // name of the instance or sync group
	State string
}

// ParseNotice parses a line without its end.
func ParseNotice(line string) (Notice, error) {
	kind, rest, _ := strings.Cut(line, " ")
	if kind != "INSTANCE" && kind != "GROUP" {
		return Notice{}, fmt.Errorf("line %.80q is not about an instance or a group", line)
	}
	// Nothing keeps quotes out of a name: it ends at the last one.
	end := strings.LastIndexByte(rest, '"')
	if !strings.HasPrefix(rest, `"`) || end == 0 {
		return Notice{}, fmt.Errorf("line %.80q has no quoted name", line)
	}
	fields := strings.Fields(rest[end+1:])
	if len(fields) == 0 {
		return Notice{}, fmt.Errorf("line %.80q has no state", line)
	}
	n := Notice{Scope: rest[1:end], State: fields[0]}
	return n, intent.ValidScope(n.Scope)
}

// drainLimit is how long after SIGTERM keepalived may take to write its last
// states: it terminates its FIFO script first and writes STOP then.
const drainLimit = 5 * time.Second

// fifoRoom is how much of what keepalived writes is kept until it is read: the
// most that the kernel gives without asking (fs.pipe-max-size).
const fifoRoom = 1 << 20

// ReadFIFO calls take for each line that keepalived writes to the FIFO at path,
// and bad for what is no such line. It returns when keepalived has closed the
// FIFO, or some time after ctx has ended: until then the last states still come.
//
// Only one process at a time reads a FIFO, the one that holds its lock: of two,
// each would get a part, and none would know the order. ready is called when this
// one can do without the one before, since it has the FIFO open, and again when it
// is its turn, before the first line. It ends when alive says that this keepalived
// has ended: what comes then is from another one.
func ReadFIFO(ctx context.Context, path string, alive func() bool, ready func(), take func(Notice), bad func(error)) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open FIFO: %w", err)
	}
	if info.Mode().Type() != fs.ModeNamedPipe {
		return fmt.Errorf("open FIFO: %s is not a FIFO but %v", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open FIFO: %w", err)
	}
	makeRoom(f)
	ready()
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drainLimit, cancel) })()
	if f, err = rundir.AcquireFile(drain, f); err != nil {
		return nil // the other reader has read the last states
	}
	defer f.Close()
	ready()
	_, err = readFIFO(drain, f, alive, take, bad)
	return err
}

// maxNotice is the longest line: a name of 128 bytes, and some words.
const maxNotice = 1024

// makeRoom lets the FIFO hold more than its reader will ever be behind by, since
// keepalived drops what does not fit. A refusal is harmless.
func makeRoom(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, fifoRoom) })
	}
}

// deliver parses a line.
func deliver(line []byte, take func(Notice), bad func(error)) {
	n, err := ParseNotice(strings.TrimSuffix(string(line), "\n"))
	if err != nil {
		bad(err)
		return
	}
	take(n)
}
