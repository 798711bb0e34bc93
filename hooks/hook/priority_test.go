package hook

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// niceOf is the nice value of a thread; 0 is the calling one.
func niceOf(t *testing.T, tid int) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - n
}

// The raised priority holds for each thread, and is not inherited by what is started.
// The test does it in a process of its own.
func TestRaisePriority(t *testing.T) {
	const env = "WANFAIL_TEST_HURRY"
	if os.Getenv(env) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRaisePriority$")
		cmd.Env = append(os.Environ(), env+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	RaisePriority()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) == 0 {
		t.Fatal(len(tasks), err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if n := niceOf(t, tid); n != highest {
			t.Errorf("thread %d has nice value %d", tid, n)
		}
	}
	cmd := exec.Command("/bin/sleep", "60")
	if err := atNormalPriority(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if n := niceOf(t, cmd.Process.Pid); n != 0 {
		t.Errorf("a process that was started has nice value %d", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if n := niceOf(t, 0); n != highest {
		t.Errorf("afterwards the process has nice value %d", n)
	}
}
