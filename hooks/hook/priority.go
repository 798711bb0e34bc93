package hook

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// highest is the nice value of hooks, and of the keeper as a service.
const highest = -20

// RaisePriority gives this process the highest priority below real time.
// keepalived starts hooks with the default one: on a router that is busy at the
// moment of a failover they would wait for the CPU like everything else, and the
// old master would transmit for as long. Where it is not allowed, the hook runs
// with the priority that it has.
func RaisePriority() {
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

// atNormalPriority runs start, which starts a process, so that it does not inherit
// the raised priority.
func atNormalPriority(start func() error) error {
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
