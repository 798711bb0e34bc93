package hooks

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// highest is the nice value of a process that hurries, and of the keeper as a
// service.
const highest = -20

// Hurry gives this process the highest ordinary priority. keepalived starts hooks
// with none: on a router that is busy at the moment of a failover they wait for
// the CPU behind everything else, and with them the silence that the new master
// counts on. Where it is not allowed, nothing is lost but time.
func Hurry() {
	tasks, err := os.ReadDir("/proc/self/task") // Linux has it for each thread
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, highest)
		}
	}
}

// atEase runs start, which starts a process, so that it does not inherit the
// hurry.
func atEase(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call returns 20 - nice
	if err != nil || 20-was != highest {
		return start()
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, highest) }()
	return start()
}
