package intent

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process may end between the opening of its pidfd and the wait for its end.
func TestEnded(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if Ended(uintptr(fd)) {
		t.Error("it runs")
	}
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !Ended(uintptr(fd)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its end is not reported")
		}
	}
	time.Sleep(10 * time.Millisecond) // the runtime's poller takes the event
	if err := f.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := raw.Read(Ended); err != nil {
		t.Errorf("the event came before the wait, which ended with %v", err)
	}
}
