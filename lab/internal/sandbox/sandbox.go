// Package sandbox lets a program run machines (a network namespace, a process
// tree and a root file system each) without leaving a trace on the computer it
// runs on.
//
// The program runs itself again, several times over:
//
//	the process a user starts          supervises, forwards signals
//	 ├ janitor                         outlives it, removes the control groups
//	 └ inside, in new namespaces       the program's real work, PID 1 of its own
//	    └ PID 1 of each machine        mounts, then becomes init or reaps
//
// Everything below "inside" lives in its PID, network and mount namespaces, so
// that the kernel removes all of it when that process ends, however it ends, and
// it ends with the process that the user started.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	envStage = "WANFAIL_LAB_STAGE"
	envSpec  = "WANFAIL_LAB_SPEC"

	stageInside  = "inside"
	stageMachine = "machine"
	stageJanitor = "janitor"
)

// Where the inside finds what Files named.
const (
	root       = "/run/wanfail-lab"
	ImageDir   = root + "/image"
	RepoDir    = root + "/repo"
	BinaryFile = root + "/wanfail"
	machineDir = root + "/machines"
	hostDir    = root + "/host"
)

// Files are the things of the computer that the inside may read. An empty name
// means that there is none.
type Files struct {
	Image  string // folder: the machines' root file system
	Repo   string // folder: the checkout
	Binary string // file: the program under test
}

// labPriority is the nice level of the lab itself.
const labPriority = -10

// init keeps the main goroutine on the main thread, and with it all others off
// it: threads that enter a machine's namespaces are thrown away afterwards,
// which the main thread cannot be, and /proc/self is that of the main thread.
func init() { runtime.LockOSThread() }

// Main must be the first call of main or TestMain, and never returns: prepare
// runs on the computer as it is (it may take its time and use the network), then
// run runs inside, with its result as the exit code.
func Main(prepare func(context.Context) (Files, error), run func() int) {
	var err error
	code := 0
	switch os.Getenv(envStage) {
	case stageInside:
		if err = setUpInside(); err == nil {
			code = run()
		}
	case stageMachine:
		err = machineMain()
	case stageJanitor:
		err = janitorMain()
	default:
		code, err = supervise(prepare)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Inside tells whether this process is the one that may boot machines.
func Inside() bool { return os.Getenv(envStage) == stageInside }

// supervise is what the user started.
func supervise(prepare func(context.Context) (Files, error)) (int, error) {
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-sigs:
			cancel()
		case <-ctx.Done():
		}
	}()
	files, err := prepare(ctx)
	cancel()
	if err != nil {
		return 1, err
	}
	spec, err := json.Marshal(files)
	if err != nil {
		return 1, err
	}
	groups, err := makeControlGroups()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envStage+"="+stageInside, envSpec+"="+string(spec))
	cmd.ExtraFiles = []*os.File{groups.dir}
	// The thread that forks must live as long as the child, or the child gets
	// PR_SET_PDEATHSIG early: init has locked this one.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: true,
		CgroupFD:    int(groups.inside.Fd()),
	}
	// The lab measures: its own threads come before those of its machines. (A
	// priority belongs to a thread, and is inherited.)
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, labPriority); err != nil {
		return 1, errors.Join(fmt.Errorf("set priority: %w", err), groups.close())
	}
	if err := cmd.Start(); err != nil {
		return 1, errors.Join(fmt.Errorf("create namespaces (the lab needs root): %w", err), groups.close())
	}
	ended := make(chan struct{})
	go forward(sigs, cmd.Process, ended)
	err = cmd.Wait()
	close(ended)
	if e := groups.close(); e != nil {
		fmt.Fprintln(os.Stderr, "lab:", e)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// forward passes signals on; a process that does not end in time is killed.
func forward(sigs <-chan os.Signal, p *os.Process, ended <-chan struct{}) {
	var late <-chan time.Time
	for {
		select {
		case s := <-sigs:
			_ = p.Signal(s)
			if late == nil {
				late = time.After(5 * time.Second)
			}
		case <-late:
			_ = p.Kill()
		case <-ended:
			return
		}
	}
}

// setUpInside covers what the computer shares with everybody and keeps only
// what Files named.
func setUpInside() error {
	var files Files
	if err := json.Unmarshal([]byte(os.Getenv(envSpec)), &files); err != nil {
		return fmt.Errorf("read %s: %w", envSpec, err)
	}
	if err := os.Setenv("PATH", machinePath+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	// What is used later may lie below what is covered now.
	image, err := keep(files.Image, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	repo, err := keep(files.Repo, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	var binary []byte
	if files.Binary != "" {
		if binary, err = os.ReadFile(files.Binary); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range []struct{ kind, at, opt string }{
		{"proc", "/proc", ""},
		{"tmpfs", "/run", "mode=0755"},
		{"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, unix.MS_NOSUID|unix.MS_NODEV, m.opt); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	// The machines' disks are here: device nodes must work in them.
	if err := unix.Mount("", "/run", "", unix.MS_REMOUNT, "mode=0755"); err != nil {
		return fmt.Errorf("remount /run: %w", err)
	}
	for _, d := range []string{machineDir, hostDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := bindReadOnly(image, ImageDir); err != nil {
		return err
	}
	if err := bindReadOnly(repo, RepoDir); err != nil {
		return err
	}
	if binary != nil {
		if err := os.WriteFile(BinaryFile, binary, 0o755); err != nil { //nolint:gosec // a program
			return err
		}
	}
	unix.CloseOnExec(groupsFD)
	return loopbackUp()
}

// keep opens a folder so that it can be reached after its path is covered.
// The result is -1 for an empty name.
func keep(path string, flags int) (int, error) {
	if path == "" {
		return -1, nil
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func bindReadOnly(fd int, at string) error {
	if fd < 0 {
		return nil
	}
	defer unix.Close(fd)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", at, err)
	}
	if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", at, err)
	}
	return nil
}
