package dhcp

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is the time since boot including suspend (CLOCK_BOOTTIME).
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Every kernel since 2.6.39 has this clock.
		panic("dhcp: read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// bootClock is the clock of a running client. Go's own timers stop while the
// machine is suspended; a timerfd on CLOCK_BOOTTIME rings on resume.
type bootClock struct{}

func (bootClock) now() time.Duration { return BootTime() }

func (bootClock) newAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	a := &bootAlarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd"), ring: make(chan struct{}, 1), done: make(chan struct{})}
	go a.read()
	return a, nil
}

type bootAlarm struct {
	fd   int
	file *os.File
	ring chan struct{}
	done chan struct{}
}

// read turns expirations into rings. It ends when the file is closed.
func (a *bootAlarm) read() {
	defer close(a.done)
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return
		}
		if binary.NativeEndian.Uint64(expirations[:]) == 0 {
			continue
		}
		select {
		case a.ring <- struct{}{}:
		default:
		}
	}
}

func (a *bootAlarm) C() <-chan struct{} { return a.ring }

func (a *bootAlarm) set(at time.Duration) error {
	var spec unix.ItimerSpec
	if at != never {
		// A zero value would disarm; a past time rings at once.
		spec.Value = unix.NsecToTimespec(max(int64(at), 1))
	}
	if err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	return nil
}

func (a *bootAlarm) close() {
	_ = a.file.Close()
	<-a.done
}
