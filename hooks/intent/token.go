package intent

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Token orders role requests. The request of a hook counts from the moment at which
// keepalived started the hook, since hooks may run late and in any order; a line of
// keepalived's FIFO and a person's command from the moment at which they arrive.
//
// A process start time has a resolution of one clock tick (10 ms); process ids
// ascend, so within a tick the id decides, and within a process Seq does.
type Token struct {
	Ticks uint64 `json:"ticks"`        // since boot, see Process.Start
	PID   int    `json:"pid,omitzero"` // 0: a person, in whose requests Seq alone decides
	Seq   uint64 `json:"seq,omitzero"`
}

// Compare returns -1, 0 or +1 as t is older than, the same as or newer than o.
func (t Token) Compare(o Token) int {
	return cmp.Or(cmp.Compare(t.Ticks, o.Ticks), comparePID(t.PID, o.PID), cmp.Compare(t.Seq, o.Seq))
}

// comparePID compares ids given out within the same tick. Ids start again near
// zero after pid_max (at least 32768); two ids of one tick that lie further
// apart than half of that straddle such a restart.
func comparePID(a, b int) int {
	const half = 1 << 14
	if a-b > half || b-a > half {
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

// Boot is the boot time of the moment that the token stands for.
func (t Token) Boot() time.Duration { return time.Duration(t.Ticks) * tick }

// String is for logs.
func (t Token) String() string { return fmt.Sprintf("%d/%d/%d", t.Ticks, t.PID, t.Seq) }

// ProcessToken is the token of what this process asks for.
//
// For a child of keepalived that is its start; behind a script, that of the
// script: OpenWrt's hotplug-call of an older event may reach its `wanfail` after
// that of a newer one. Without a keepalived above it the process was started by a
// person, cron or another daemon, which run one command after the other. Then it
// is the present moment: the start time cannot be used, since a shell that executes
// its last command in place (`ssh router 'wanfail primary; wanfail backup'`) runs it
// in the shell's own, older process.
func ProcessToken() (Token, error) {
	own, err := readStat(os.Getpid())
	if err != nil {
		return Token{}, fmt.Errorf("read own start time: %w", err)
	}
	pid := os.Getpid()
	_, child := ancestry()
	if child == (Process{}) && deathSignal == unix.SIGTERM {
		child = Process{PID: pid, Start: own.start} // of a keepalived that has exited
	}
	if child == (Process{}) {
		now, err := sinceBoot()
		return Token{Ticks: uint64(now / tick), Seq: uint64(now % tick)}, err
	}
	// Two requests of one script are in the order of the processes that make them.
	// The last one may be the script's own process, after all others.
	const pidBits = 22 // PID_MAX_LIMIT, include/linux/threads.h
	t := Token{Ticks: child.Start, PID: child.PID, Seq: (own.start-child.Start)<<pidBits | uint64(pid)}
	if child.PID == pid {
		now, err := sinceBoot()
		if err != nil {
			return Token{}, err
		}
		t.Seq = (uint64(now/tick) + 1 - child.Start) << pidBits
	}
	return t, nil
}

// NoticeClock gives the lines of a keepalived's FIFO their tokens. The FIFO is read
// by one process at a time, of which any may be the next: so it is the moment alone
// that decides.
type NoticeClock struct {
	keepalived Process
	last       time.Duration
}

// NewNoticeClock makes the clock of a reader.
func NewNoticeClock(keepalived Process) *NoticeClock { return &NoticeClock{keepalived: keepalived} }

// Next is the token of a line that was read just now.
func (c *NoticeClock) Next() (Token, error) {
	now, err := sinceBoot()
	if now <= c.last {
		now = c.last + 1
	}
	c.last = now
	return Token{Ticks: uint64(now / tick), PID: c.keepalived.PID, Seq: uint64(now % tick)}, err
}

// sinceBoot is the time since boot by the clock of process start times.
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read boot time: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// tick is the unit of process start times. The kernel reports them in USER_HZ,
// which is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond
