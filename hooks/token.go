package hooks

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Token orders hooks by the moment at which keepalived started them. A process
// start time has a resolution of one clock tick (10 ms); process ids ascend, so
// within a tick the id decides, and within a process (the FIFO reader) Seq does.
type Token struct {
	Ticks uint64 `json:"ticks"` // since boot, see Process.Start
	PID   int    `json:"pid"`
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

// String is for logs.
func (t Token) String() string { return fmt.Sprintf("%d/%d/%d", t.Ticks, t.PID, t.Seq) }

// ProcessToken is the token of this process or, where a script stands between
// keepalived and it, of that script: OpenWrt's hotplug-call of an older event may
// reach its `wanfail` after that of a newer one.
func ProcessToken() (Token, error) {
	own, err := readStat(os.Getpid())
	if err != nil {
		return Token{}, fmt.Errorf("read own start time: %w", err)
	}
	t := Token{Ticks: own.start, PID: os.Getpid()}
	_, child := ancestry()
	if child == (Process{}) || child.PID == t.PID {
		return t, nil
	}
	// What one script says twice is in the order of the processes that say it.
	const pidBits = 22 // PID_MAX_LIMIT, include/linux/threads.h
	return Token{Ticks: child.Start, PID: child.PID, Seq: (own.start-child.Start)<<pidBits | uint64(t.PID)}, nil
}

// NowToken is the token of something that this process hears now, as a line
// of keepalived's FIFO. Seq must ascend from call to call.
func NowToken(seq uint64) (Token, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return Token{}, fmt.Errorf("read boot time: %w", err)
	}
	return Token{Ticks: uint64(ts.Nano() / int64(tick)), PID: os.Getpid(), Seq: seq}, nil
}

// tick is the unit of process start times. The kernel reports them in USER_HZ,
// which is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond
